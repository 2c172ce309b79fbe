"""Gradient magnitude similarity deviation, at one scale and at several.

Sources: Xue, Zhang, Mou & Bovik 2014, https://arxiv.org/abs/1308.3052 (GMSD); Zhang,
Sander & Bermak 2017, "Gradient magnitude similarity deviation on multiple scales for
color image quality assessment" (MS-GMSD). Equal to `piq.gmsd` and `piq.multi_scale_gmsd`
of piq 0.8.0. Both look at Rec. 601 luma alone, so images that differ in nothing but
chroma are at distance 0; the variant with chroma (MS-GMSDc) is not built here.

Both are distances: standard deviations, over the pixels, of how much gradients differ.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import averaging, colour
from pim_jax.ops.gradients import prewitt_magnitude
from pim_jax.ops.safe_math import dissimilarity, root

# Below it one pixel is left after pooling, which deviates from nothing.
MINIMUM = 3
_CONSTANT = 170 / 255**2  # for images in [0, 1]

# Every scale halves the last one, and the coarsest has to have two rows.
MINIMUM_OF_SCALES = 17
_SCALE_WEIGHTS = (0.096, 0.596, 0.289, 0.019)
_MASKING = 0.5


def _variance(
    luma_a: Float[Array, "n h w 1"], luma_b: Float[Array, "n h w 1"], masking: float
) -> Float[Array, " n"]:
    """Of the similarity of gradient magnitudes, over the pixels."""
    differences = dissimilarity(
        prewitt_magnitude(luma_a), prewitt_magnitude(luma_b), _CONSTANT, masking
    )
    # One minus the similarity varies as much, and loses no digits near 1.
    return jnp.var(differences, axis=(1, 2, 3))


def _luma(image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 1"]:
    return colour.luma(image.astype(jnp.float32))


def gmsd(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Gradient magnitude similarity deviation in [0, 0.5], 0 for identical images.

    Luma, means of 2x2 pixels (zeros beyond odd sizes), Prewitt's gradients, their
    similarity with the constant 170 / 255^2, and its population standard deviation.
    Equal to `piq.gmsd` within 2e-6. The gradient is 0 where the distance is.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 3x3.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(image_a, image_b, "gmsd", MINIMUM)
    a, b = (averaging.halve(_luma(x), "constant") for x in (image_a, image_b))
    return root(_variance(a, b, masking=0.0))


def ms_gmsd(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Deviation at four scales in [0, 0.5], 0 for identical images.

    As `gmsd`, at full resolution and three times halved: the root of the weighted mean of
    the variances, weights 0.096, 0.596, 0.289, 0.019 from the finest on, with a masking
    of 0.5 in the similarity. The luma variant, equal to `piq.multi_scale_gmsd` with
    chromatic=False, its default, within 2e-6.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 17x17.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(image_a, image_b, "ms-gmsd", MINIMUM_OF_SCALES)
    a, b = _luma(image_a), _luma(image_b)
    total = jnp.zeros(a.shape[0], jnp.float32)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale > 0:
            a, b = averaging.halve(a, "constant"), averaging.halve(b, "constant")
        total += weight * _variance(a, b, _MASKING)
    return root(total)


load_gmsd = weightless.loader("gmsd", gmsd)
load_ms_gmsd = weightless.loader("ms-gmsd", ms_gmsd)
