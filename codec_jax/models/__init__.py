"""Codecs as networks: one file per paper; `architectures` knows them all by name."""
