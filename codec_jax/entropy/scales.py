"""The conditional prior: a normal distribution whose scale is one of 64.

A latent's scale is an index into `SCALES`, an integer. So the table that codes it is
chosen without comparing floating point numbers, which two machines may do differently.
Source: Ballé et al. 2018, https://arxiv.org/abs/1802.01436; tensorflow-compression's
`LocationScaleIndexedEntropyModel`.
"""

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from codec_jax.coding import tables
from codec_jax.entropy import densities

COUNT = 64
SMALLEST, LARGEST = 0.11, 256.0
SCALES = np.exp(np.linspace(np.log(SMALLEST), np.log(LARGEST), COUNT))
_LOG_STEP = np.log(LARGEST / SMALLEST) / (COUNT - 1)


def scale_at(index: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The scale of an index in [0, 63]; between integers geometrically interpolated."""
    return jnp.exp(np.float32(np.log(SMALLEST)) + index * np.float32(_LOG_STEP))


def index_of(scale: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The inverse of `scale_at`."""
    return (jnp.log(scale) - np.float32(np.log(SMALLEST))) / np.float32(_LOG_STEP)


def log2_mass(v: Float[Array, "*s"], index: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log2 P(v - 1/2 < X < v + 1/2) for X ~ N(0, scale^2).

    Args:
      v: latents minus their means.
      index: of their scales.
    """
    return densities.log_normal_mass(v, scale_at(index)) / np.float32(np.log(2))


def make_tables(
    precision: int = tables.LARGEST_PRECISION, tail_mass: float = 2.0**-16
) -> tables.Tables:
    """A table for each scale; symbols are distances from the mean.

    Args:
      precision: in bits.
      tail_mass: probability of both tails together, at most; coded by the escape.
    """
    pmfs, offsets = [], []
    for scale in SCALES:
        reach = int(np.ceil(-scipy.special.ndtri(tail_mass / 2) * scale - 0.5))
        v = -np.abs(np.arange(-reach, reach + 1, dtype=np.float64))
        pmfs.append(
            scipy.special.ndtr((v + 0.5) / scale)
            - scipy.special.ndtr((v - 0.5) / scale)
        )
        offsets.append(-reach)
    return tables.from_pmfs(pmfs, offsets, precision)
