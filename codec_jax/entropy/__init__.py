"""Probability models of latents: densities for training, integer tables for coding."""
