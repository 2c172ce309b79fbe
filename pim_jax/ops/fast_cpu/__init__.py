"""Arrangements of convolutions that are there for the speed of CPUs alone."""
