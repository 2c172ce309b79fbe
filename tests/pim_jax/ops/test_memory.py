"""Computations that do not fit into memory are refused before they start."""

import jax.numpy as jnp
import pytest

from pim_jax import cli
from pim_jax.metrics import METRICS
from pim_jax.ops import memory


def test_memory_is_known_here():
    free = memory.available()
    assert free is None or free > 1e6


def test_what_fits_is_computed_and_what_does_not_is_refused(monkeypatch):
    image = jnp.zeros((1, 64, 64, 3))
    arguments = (METRICS["ssim"](), image, image)
    monkeypatch.setattr(memory, "available", lambda: 10**12)
    assert memory.call(cli._called, *arguments).tolist() == [0]
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(
        ValueError, match=r"GB of memory beside the images, and 0\.0 GB"
    ):
        memory.call(cli._called, *arguments)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.call(cli._called, *arguments).tolist() == [0]
