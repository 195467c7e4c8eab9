"""`python -m cdeval.export`: a setting as a folder for `generate` of transformers."""
