"""Latent codecs: how latents become bits in training, and strings in a file."""
