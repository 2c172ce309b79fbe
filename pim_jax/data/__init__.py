"""Video frames, human judgements and image files as NumPy arrays."""
