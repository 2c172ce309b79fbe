"""Perceptual-fidelity aware mean squared error: the squared error of smoothed images.

Source: Xue, Mou, Zhang & Feng 2013, "Perceptual fidelity aware mean squared error"
(ICCV, https://doi.org/10.1109/ICCV.2013.93). The paper shows that the mean squared error
plus that of a certain structure is the mean squared error after a Gaussian filter. The
filter, standard deviation 0.8 with 7x7 taps of sum 1 at positions within the image, is
that of a line of MATLAB code kept in a later work (DuanHuiyu/ARIQA); the authors' own code
was not at hand. Assumed here: Rec. 601 luma, and images in [0, 1], so that values for 0 to
255 are 255^2 times as large.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.metrics import pixel, weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import colour
from pim_jax.ops.fast_cpu import banded

WINDOW = 7
_WEIGHTS = banded.gaussian(WINDOW, sigma=0.8)


def pamse(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> Float[Array, " n"]:
    """Mean over positions and channels of the square of the smoothed difference.

    Never above the mean squared error, except for the border of three pixels that has
    less weight. Twice differentiable everywhere, as the mean squared error is.

    Args:
      image_a, image_b: float images of one shape, at least 7x7; the metric `pamse`
        gives it luma in [0, 1].

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(image_a, image_b, "pamse", WINDOW)
    difference = image_a.astype(jnp.float32) - image_b.astype(jnp.float32)
    smooth = banded.valid(difference, _WEIGHTS)
    return pixel.mean_squared_error(smooth, jnp.zeros_like(smooth))


def _pamse_distance(a: Array, b: Array) -> Array:
    return pamse(colour.luma(a), colour.luma(b))


ENTRIES = (
    weightless.entry(
        "pamse",
        _pamse_distance,
        "PAMSE (Xue 2013), luma in [0, 1] after a Gaussian of 0.8 px",
        largest=1.0,
        minimum_size=WINDOW,
        passes_nan=True,
    ),
)
