"""Perceptual spaces learned from video, and the metrics they are compared with.

A metric is one immutable pytree that any JAX transformation accepts::

    metric = pim_jax.load("pim-5")
    distance = metric(image_a, image_b)     # (n,) float32, smaller is closer
"""

import jax

# Both supported generations of JAX must draw the same random numbers.
jax.config.update("jax_threefry_partitionable", True)

from pim_jax import moved  # noqa: E402
from pim_jax.loading import load  # noqa: E402
from pim_jax.metric import Metric  # noqa: E402
from pim_jax.metrics import METRICS  # noqa: E402
from pim_jax.pim.distance import distance  # noqa: E402
from pim_jax.version import __version__  # noqa: E402

moved.install()
moved.also(
    "pim_jax.metric",
    "pim_jax.pim.distance",
    *("PimMetric", "PimFunction", "Representation", "compare", "compare_sampled"),
    *("distance", "pim_metric", "represent", "untrained"),
)

__all__ = ["METRICS", "Metric", "__version__", "distance", "load"]
