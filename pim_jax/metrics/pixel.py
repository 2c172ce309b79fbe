"""Squared error and peak signal-to-noise ratio.

The similarity `psnr` keeps its name and its unit (dB); the metric of the same name
returns the mean squared error, as the metric `mse` does, of which PSNR is a decreasing
function. Both put any set of image pairs in the same order, but only the squared error is
0 for identical images and smooth there, where PSNR is infinite.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair


def mean_squared_error(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> Float[Array, " n"]:
    """Mean of (a - b)^2 over pixels and channels jointly, in squared input units.

    Args:
      image_a, image_b: float images of one shape.

    Raises:
      ValueError: the shapes differ.
    """
    check_pair(image_a, image_b, "mse")
    difference = image_a.astype(jnp.float32) - image_b.astype(jnp.float32)
    return jnp.mean(jnp.square(difference), axis=(1, 2, 3))


def psnr(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> Float[Array, " n"]:
    """Peak signal-to-noise ratio -10 log10(MSE) in dB, for images in [0, 1].

    Equal to `tf.image.psnr(max_val=1)` and to
    `skimage.metrics.peak_signal_noise_ratio(data_range=1)` within 1e-4 dB. Infinite for
    identical images, where the gradient is defined as 0.

    Args:
      image_a, image_b: float images of one shape in [0, 1].

    Raises:
      ValueError: the shapes differ.
    """
    error = mean_squared_error(image_a, image_b)
    same = error <= 0  # not so of NaN, which is passed on
    # Chosen before the logarithm as well: its gradient at 0 would be NaN.
    decibel = -10.0 * jnp.log10(jnp.where(same, 1.0, error))
    return jnp.where(same, jnp.inf, decibel)


def psnr_of_bytes(image_a: ArrayLike, image_b: ArrayLike) -> float:
    """10 log10(255^2 / MSE) of two 8-bit images in dB, over all samples of all channels.

    Computed in integers; infinite for identical images.

    Raises:
      ValueError: shapes that differ, or another type than uint8.
    """
    a, b = np.asarray(image_a), np.asarray(image_b)
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            f"expected two uint8 images of one shape, found {a.shape} of {a.dtype} and "
            f"{b.shape} of {b.dtype}"
        )
    error = np.mean(np.square(a.astype(np.int64) - b))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


ENTRIES = (
    weightless.entry(
        "mse",
        mean_squared_error,
        "mean squared error, images in [0, 1]",
        largest=1.0,
        passes_nan=True,
    ),
    weightless.entry(
        "psnr",
        mean_squared_error,
        "10^(-PSNR / 10), the mean squared error",
        largest=1.0,
        decibels=True,
        passes_nan=True,
    ),
)
