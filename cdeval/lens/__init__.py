"""What each layer of the expert already knows: trained translators, measured lenses, fitted temperatures."""
