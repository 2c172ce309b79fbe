"""Codecs judged: rate, distortion, complexity, and classical codecs beside them."""
