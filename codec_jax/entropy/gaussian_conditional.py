"""The conditional prior: a normal distribution whose scale is one of 64.

A latent's scale is an index into `SCALES`, an integer. So the table that codes it is
chosen without comparing floating point numbers, which two machines may do differently.
Source: Ballé et al. 2018, https://arxiv.org/abs/1802.01436; tensorflow-compression's
`LocationScaleIndexedEntropyModel`.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from codec_jax import ops
from codec_jax.coding import tables
from codec_jax.entropy import densities

COUNT = 64
SMALLEST, LARGEST = 0.11, 256.0
SCALES = np.exp(np.linspace(np.log(SMALLEST), np.log(LARGEST), COUNT))
_LOG_STEP = np.log(LARGEST / SMALLEST) / (COUNT - 1)
# Of `index_of`, in float32 and for all scales: 4 units in the last place of 63.
_TOLERANCE = 2.0**-16


def scale_at(index: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The scale of an index in [0, 63]; between integers geometrically interpolated."""
    return jnp.exp(np.float32(np.log(SMALLEST)) + index * np.float32(_LOG_STEP))


def index_of(scale: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The inverse of `scale_at`."""
    return (jnp.log(scale) - np.float32(np.log(SMALLEST))) / np.float32(_LOG_STEP)


def rounded_up(index: Float[Array, "*s"]) -> Int32[Array, "*s"]:
    """The row of the smallest scale that is not below that of `index`, 0 to 63.

    So CompressAI chooses tables. The logarithm in `index_of` has rounding errors, and the
    smallest scale, which is the most common, must not be taken for the next.
    """
    return jnp.clip(jnp.ceil(index - _TOLERANCE), 0, COUNT - 1).astype(jnp.int32)


def log2_mass(v: Float[Array, "*s"], index: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log2 P(v - 1/2 < X < v + 1/2) for X ~ N(0, scale^2).

    Args:
      v: latents minus their means.
      index: of their scales.
    """
    return densities.log_normal_mass(v, scale_at(index)) / np.float32(np.log(2))


def make_tables(
    precision: int = tables.LARGEST_PRECISION,
    tail_mass: float = 2.0**-16,
    dither: int = 0,
) -> tables.Tables:
    """A table for each scale; symbols are distances from the mean.

    Args:
      precision: in bits.
      tail_mass: probability of both tails together, at most; coded by the escape.
      dither: levels of `ops.dither_offsets`: for each scale a table for each of them,
        of the symbols round(v - offset).
    """
    # Only where tables are made: whoever loads a codec has them, and does without SciPy.
    import scipy.special

    pmfs, offsets = [], []
    levels = ops.dither_offsets(dither)
    for scale, offset in itertools.product(SCALES, levels):
        tail = -scipy.special.ndtri(tail_mass / 2) * scale
        reach = int(np.ceil(tail - 0.5 + abs(offset)))
        v = -np.abs(np.arange(-reach, reach + 1, dtype=np.float64) + offset)
        pmfs.append(
            scipy.special.ndtr((v + 0.5) / scale)
            - scipy.special.ndtr((v - 0.5) / scale)
        )
        offsets.append(-reach)
    return tables.from_pmfs(pmfs, offsets, precision)
