"""Coders of toy sources, where the best possible result is known or can be seen."""
