"""Trained codecs at work: compiled programs, tiles, the search for a rate."""
