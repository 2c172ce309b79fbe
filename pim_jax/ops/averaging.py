"""Smaller images as means of blocks of pixels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The shorter side, in pixels, that SSIM, FSIM, VSI and others are meant for.
_VIEWED = 256


def box_size(height: int, width: int) -> int:
    """Side of the boxes that bring the shorter side near 256 pixels; 1 up to 384.

    Halves are rounded to even: sides of 384 and of 640 pixels give boxes of 2.
    """
    return max(1, round(min(height, width) / _VIEWED))


def box_average(image: Float[Array, "n h w c"], size: int) -> Float[Array, "n h2 w2 c"]:
    """Means of size x size boxes; rows and columns that fill no box are left out."""
    if size == 1:
        return image
    # Of the ways to write this the fastest on CPUs, with its gradient.
    window = (1, size, size, 1)
    total = jax.lax.reduce_window(image, 0.0, jax.lax.add, window, window, "VALID")
    return total / size**2


def halve(image: Float[Array, "n h w c"], beyond: str) -> Float[Array, "n h2 w2 c"]:
    """Means of 2x2 pixels.

    Args:
      image: with any number of rows and columns.
      beyond: what stands beyond an odd last row or column: "edge", its pixels again, or
        "constant", zeros.
    """
    _, height, width, _ = image.shape
    padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    return box_average(jnp.pad(image, padding, mode=beyond), 2)
