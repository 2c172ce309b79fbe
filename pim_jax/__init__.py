"""Perceptual spaces learned from video, and the metrics they are compared with.

A metric is one immutable pytree that any JAX transformation accepts::

    metric = pim_jax.load("pim-5")
    distance = metric(image_a, image_b)     # (n,) float32, smaller is closer
"""

import jax

# Both supported generations of JAX must draw the same random numbers.
jax.config.update("jax_threefry_partitionable", True)

from pim_jax.metric import Metric, distance  # noqa: E402
from pim_jax.metrics import METRICS  # noqa: E402
from pim_jax.version import __version__  # noqa: E402
from pim_jax.weights import load  # noqa: E402

__all__ = ["METRICS", "Metric", "__version__", "distance", "load"]
