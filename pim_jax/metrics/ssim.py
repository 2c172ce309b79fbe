"""Structural similarity at one scale and at several.

Sources: Wang, Bovik, Sheikh & Simoncelli 2004 (SSIM); Wang, Simoncelli & Bovik 2003
(MS-SSIM). Equal to `tf.image.ssim` and `tf.image.ssim_multiscale`, which differ from
other versions in: RGB channels one by one and then averaged (the original works on luma),
no down-sampling of large images before SSIM, valid windows only, odd sizes padded at the
bottom and right before pooling.

The similarities keep their names; the metrics `ssim` and `ms-ssim` return one minus them,
`ssim-luma` and `ms-ssim-luma` one minus them for Rec. 601 luma alone.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import averaging, bounds, colour
from pim_jax.ops.fast_cpu import banded
from pim_jax.ops.fast_cpu.one_by_one import one_by_one
from pim_jax.ops.safe_math import either

WINDOW = 11
_WEIGHTS = banded.gaussian(WINDOW, sigma=1.5)
_C1, _C2 = 0.01**2, 0.03**2  # (K L)^2 for images in [0, 1]
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Pixels of a plane from which on CPUs it is faster to take one plane after the other.
_LARGE = 256 * 256


def _means(planes: Float[Array, "m 2 h w"]) -> Float[Array, "m 2"]:
    """1 - SSIM and 1 - contrast-structure factor, means over the windows of two planes.

    From the sum s and the difference d of the planes, whose moments are 0 where the
    planes are equal: with m their means and v their variances, 1 - luminance factor is
    2 m_d^2 / (m_s^2 + m_d^2 + 2 c1), and 1 - contrast-structure factor is
    2 v_d / (v_s + v_d + 2 c2). Nothing is subtracted from 1.
    """
    a, b = (planes[:, k, :, :, None] for k in range(2))
    # Second moments about mid-grey lose fewer digits than moments about 0.
    total, apart = (a - 0.5) + (b - 0.5), a - b
    products = jnp.concatenate([total, apart, total * total, apart * apart])
    # Gaussian-weighted means in every window that lies inside the image.
    moments = banded.valid(products, _WEIGHTS)
    mean_s, mean_d, square_s, square_d = jnp.split(moments, 4)
    square_of_mean_d = jnp.square(mean_d)
    variance_s = square_s - jnp.square(mean_s)
    variance_d = bounds.at_least_zero(square_d - square_of_mean_d)
    luminance = (2 * square_of_mean_d) / (
        jnp.square(mean_s + 1) + square_of_mean_d + 2 * _C1
    )
    contrast_structure = (2 * variance_d) / (variance_s + variance_d + 2 * _C2)
    both = either(luminance, contrast_structure)
    return jnp.mean(jnp.concatenate([both, contrast_structure], axis=-1), axis=(1, 2))


def _losses(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> tuple[Float[Array, "n c"], Float[Array, "n c"]]:
    """Of each channel what `_means` gives."""
    n, height, width, channels = image_a.shape
    both = jnp.moveaxis(jnp.stack([image_a, image_b], axis=1), -1, 1)
    planes = both.reshape(n * channels, 2, height, width)
    large = height * width >= _LARGE
    means = one_by_one(_means, planes) if large else _means(planes)
    both, contrast_structure = means.reshape(n, channels, 2).transpose(2, 0, 1)
    return both, contrast_structure


def ssim(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> Float[Array, " n"]:
    """Structural similarity in [-1, 1], 1 for identical images in [0, 1].

    Gaussian window of 11x11 with standard deviation 1.5, valid positions only, K1 = 0.01,
    K2 = 0.03, population covariance, per channel and then averaged. Equal within 1e-5 to
    `tf.image.ssim(max_val=1)` and to `skimage.metrics.structural_similarity` with
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1. The
    default of skimage (uniform 7x7 window) is another metric.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 11x11.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    return 1.0 - ssim_loss(image_a, image_b)


def ssim_loss(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"]
) -> Float[Array, " n"]:
    """1 - `ssim`, without rounding where it is small: the metric `ssim`."""
    check_pair(image_a, image_b, "ssim", WINDOW)
    found, _ = _losses(image_a.astype(jnp.float32), image_b.astype(jnp.float32))
    return jnp.mean(found, axis=-1)


def smallest_size(scales: int) -> int:
    """The shorter side that MS-SSIM with this many scales needs: 11, 21, 41, 81, 161."""
    return (WINDOW - 1) * 2 ** (scales - 1) + 1


def scales_for(height: int, width: int) -> int:
    """The number of scales, at most five, that an image of this size allows.

    Raises:
      ValueError: not even one window fits.
    """
    shorter = min(height, width)
    if shorter < WINDOW:
        raise ValueError(
            f"ms-ssim needs images of at least {WINDOW}x{WINDOW} pixels, found "
            f"{height}x{width}"
        )
    return max(
        s for s in range(1, len(_SCALE_WEIGHTS) + 1) if shorter >= smallest_size(s)
    )


def ms_ssim(
    image_a: Float[Array, "n h w c"],
    image_b: Float[Array, "n h w c"],
    scales: int | None = None,
) -> Float[Array, " n"]:
    """Multiscale structural similarity in [0, 1], 1 for identical images in [0, 1].

    The product over scales of the mean contrast-structure factor (at the coarsest scale:
    the mean SSIM) to the power of the scale's weight, per channel and then averaged.
    Negative means count as 0. With five scales equal within 1e-5 to
    `tf.image.ssim_multiscale(max_val=1)`, which asks for 176 pixels where 161 suffice.

    Five scales do not fit into small images, and no standard says what to do. Here the
    finest `scales` of the five weights are kept and divided by their sum, so 64x64 images
    are compared at three scales with weights (0.0711, 0.4530, 0.4760). Values for
    different numbers of scales are not comparable.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 11x11.
      scales: 1 to 5, or None for as many as the size allows (`scales_for`): 5 from 161
        pixels on the shorter side, 4 from 81, 3 from 41, 2 from 21, 1 from 11.

    Raises:
      ValueError: the shapes differ, or the images are too small for `scales`.
    """
    return 1.0 - ms_ssim_loss(image_a, image_b, scales)


def ms_ssim_loss(
    image_a: Float[Array, "n h w c"],
    image_b: Float[Array, "n h w c"],
    scales: int | None = None,
) -> Float[Array, " n"]:
    """1 - `ms_ssim`, without rounding where it is small: the metric `ms-ssim`."""
    check_pair(image_a, image_b, "ms-ssim", WINDOW)
    height, width = image_a.shape[1:3]
    if scales is None:
        scales = scales_for(height, width)
    if not 1 <= scales <= len(_SCALE_WEIGHTS):
        raise ValueError(f"scales must be 1 to {len(_SCALE_WEIGHTS)}, found {scales}")
    if min(height, width) < smallest_size(scales):
        raise ValueError(
            f"ms-ssim with {scales} scales needs a shorter side of at least "
            f"{smallest_size(scales)} pixels, found {height}x{width}"
        )
    a, b = image_a.astype(jnp.float32), image_b.astype(jnp.float32)
    total = sum(_SCALE_WEIGHTS[:scales])
    # The five published weights sum to 1.0001; kept as they are for parity.
    total = 1.0 if scales == len(_SCALE_WEIGHTS) else total
    logarithm = jnp.zeros((a.shape[0], a.shape[-1]), jnp.float32)
    nothing = jnp.zeros(logarithm.shape, bool)
    for k in range(scales):
        if k > 0:
            a, b = averaging.halve(a, "edge"), averaging.halve(b, "edge")
        both, contrast_structure = _losses(a, b)
        lost = both if k == scales - 1 else contrast_structure
        # A factor of 0 or below; not so of NaN, which is passed on. There the slope of
        # the power would be infinite; elsewhere 1 - lost is at least 6e-8 in float32.
        none = lost >= 1
        nothing = nothing | none
        weight = _SCALE_WEIGHTS[k] / total
        logarithm = logarithm + weight * jnp.log1p(-jnp.where(none, 0.0, lost))
    return jnp.mean(jnp.where(nothing, 1.0, -jnp.expm1(logarithm)), axis=-1)


def _ssim_luma_distance(a: Array, b: Array) -> Array:
    return ssim_loss(colour.luma(a), colour.luma(b))


def _ms_ssim_distance(a: Array, b: Array) -> Array:
    return ms_ssim_loss(a, b)


def _ms_ssim_luma_distance(a: Array, b: Array) -> Array:
    return ms_ssim_loss(colour.luma(a), colour.luma(b))


# Without the pass for NaN, the gradient of the first two as the body of a scan inside of
# shard_map meets a rule of JAX 0.5.3 that fails for constants.
ENTRIES = (
    weightless.entry(
        "ssim",
        ssim_loss,
        "1 - tf.image.ssim (Wang 2004), RGB",
        largest=2.0,
        minimum_size=WINDOW,
    ),
    weightless.entry(
        "ssim-luma",
        _ssim_luma_distance,
        "1 - SSIM of Rec. 601 luma",
        largest=2.0,
        minimum_size=WINDOW,
    ),
    weightless.entry(
        "ms-ssim",
        _ms_ssim_distance,
        "1 - tf.image.ssim_multiscale (Wang 2003), RGB; fewer scales below 161 px",
        largest=1.0,
        minimum_size=WINDOW,
        passes_nan=True,
    ),
    weightless.entry(
        "ms-ssim-luma",
        _ms_ssim_luma_distance,
        "1 - MS-SSIM of Rec. 601 luma; fewer scales below 161 px",
        largest=1.0,
        minimum_size=WINDOW,
        passes_nan=True,
    ),
)
