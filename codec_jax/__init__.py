"""Learned image codecs in JAX. Imports `pim_jax`, which never imports this package."""
