"""Magnitudes of image gradients from 3x3 operators, with zeros beyond the border."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.ops.safe_math import magnitude


def prewitt_magnitude(image: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Length of the gradient by Prewitt's operators, each divided by 3.

    A ramp of slope 1 has magnitude 2: the operators take pixels two apart.
    """
    return _magnitude(image, (1 / 3, 1 / 3, 1 / 3))


def scharr_magnitude(image: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Length of the gradient by Scharr's operators, each divided by 16.

    A ramp of slope 1 has magnitude 2: the operators take pixels two apart.
    """
    return _magnitude(image, (3 / 16, 10 / 16, 3 / 16))


def _magnitude(image: Array, smoothing: tuple[float, float, float]) -> Array:
    # Sums of shifted images: for three taps faster than products with banded matrices.
    first, centre, last = smoothing
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = first * padded[:, :-2] + centre * padded[:, 1:-1] + last * padded[:, 2:]
    columns = (
        first * padded[:, :, :-2]
        + centre * padded[:, :, 1:-1]
        + last * padded[:, :, 2:]
    )
    return magnitude(rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2])
