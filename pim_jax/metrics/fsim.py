"""Feature similarity: phase congruency and gradients, alone (FSIM) and with chroma (FSIMc).

Source: Zhang, Zhang, Mou & Zhang 2011, "FSIM: a feature similarity index for image quality
assessment". Equal to `piq.fsim` of piq 0.8.0. The similarities keep their names; the
metrics `fsim` and `fsimc` return one minus them.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import averaging, colour
from pim_jax.ops.fast_cpu.one_by_one import one_by_one
from pim_jax.ops.gradients import scharr_magnitude
from pim_jax.ops.phase_congruency import phase_congruency
from pim_jax.ops.safe_math import dissimilarity, either, power_loss

# A frequency other than 0 takes two pixels.
MINIMUM = 2
# For images in 0 .. 255.
_OF_PHASE, _OF_GRADIENT, _OF_CHROMA = 0.85, 160.0, 200.0
_CHROMA_EXPONENT = 0.03


def fsim(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Feature similarity of Rec. 601 luma in [0, 1], 1 for identical images.

    From 384 pixels on the shorter side images are first averaged in boxes of
    round(side / 256). Equal to `piq.fsim` with chromatic=False within 2e-6, but for
    uniform images, where piq compares the phases of rounding errors.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 2x2.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(image_a, image_b, "fsim", MINIMUM)
    return 1.0 - _loss(image_a, image_b, chromatic=False)


def fsimc(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Feature similarity with chroma in [0, 1], 1 for identical images.

    As `fsim`, times the similarity of the axes I and Q of NTSC to the power of 0.03. Equal
    to `piq.fsim` with its default chromatic=True within 2e-6.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 2x2.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(image_a, image_b, "fsimc", MINIMUM)
    return 1.0 - _loss(image_a, image_b, chromatic=True)


def _loss(image_a: Array, image_b: Array, chromatic: bool) -> Array:
    """1 - similarity, from dissimilarities, which rounding leaves 0 where it is 1."""
    a, b = _yiq(image_a), _yiq(image_b)
    luma_a, luma_b = a[..., :1], b[..., :1]
    # In one batch the program is half as large, and compiles in half the time.
    phases = one_by_one(phase_congruency, jnp.concatenate([a[..., 0], b[..., 0]]))
    phase_a, phase_b = jnp.split(phases, 2)
    lost = either(
        dissimilarity(phase_a, phase_b, _OF_PHASE),
        dissimilarity(
            scharr_magnitude(luma_a)[..., 0],
            scharr_magnitude(luma_b)[..., 0],
            _OF_GRADIENT,
        ),
    )
    if chromatic:
        chroma = dissimilarity(a[..., 1:], b[..., 1:], _OF_CHROMA)
        # Either similarity may be negative; published code takes the size of the product.
        product = either(chroma[..., 0], chroma[..., 1])
        lost = either(lost, power_loss(product, _CHROMA_EXPONENT))
    weight = jnp.maximum(phase_a, phase_b)
    # The weights are never all 0, see `phase_congruency`.
    return jnp.sum(lost * weight, axis=(1, 2)) / jnp.sum(weight, axis=(1, 2))


def _yiq(image: Array) -> Array:
    """Averaged, in 0 .. 255."""
    size = averaging.box_size(*image.shape[1:3])
    small = averaging.box_average(image.astype(jnp.float32), size)
    return colour.yiq(255 * small)


def _fsim_distance(a: Array, b: Array) -> Array:
    check_pair(a, b, "fsim", MINIMUM)
    return _loss(a, b, chromatic=False)


def _fsimc_distance(a: Array, b: Array) -> Array:
    check_pair(a, b, "fsimc", MINIMUM)
    return _loss(a, b, chromatic=True)


load_fsim = weightless.loader("fsim", _fsim_distance)
load_fsimc = weightless.loader("fsimc", _fsimc_distance)
