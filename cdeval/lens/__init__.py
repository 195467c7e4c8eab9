"""The knowledge of each layer of the expert: trained translators, measured lenses, fitted temperatures."""
