"""Visual-saliency index: what is salient, gradients and colours, weighted by saliency.

Sources: Zhang, Shen & Li 2014, "VSI: a visual saliency-induced index for perceptual image
quality assessment"; Zhang, Gu & Li 2013, "SDSP: a novel saliency detection method by
combining simple priors". Equal to `piq.vsi` of piq 0.8.0; ports of VSI differ among each
other. The similarity keeps its name; the metric `vsi` returns one minus it.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import averaging, colour, resizing
from pim_jax.ops.fast_cpu.one_by_one import one_by_one
from pim_jax.ops.gradients import scharr_magnitude
from pim_jax.ops.phase_congruency import frequencies
from pim_jax.ops.safe_math import dissimilarity, either, power_loss, root

# A single pixel is never salient.
MINIMUM = 2
# Of saliency in [0, 1], and of gradients and colours in 0 .. 255.
_OF_SALIENCY, _OF_GRADIENT, _OF_COLOUR = 1.27, 386.0, 130.0
_GRADIENT_EXPONENT, _COLOUR_EXPONENT = 0.4, 0.02

_SIDE = 256  # of the images that saliency is computed for
_CENTRE_FREQUENCY, _BANDWIDTH = 0.021, 1.34
_CENTRE_RADIUS = 145.0
_COLOUR_RADIUS = 0.001
_EPSILON = float(np.finfo(np.float32).eps)


@functools.cache
def _bandpass() -> np.ndarray:
    """Log-Gabor transfer function for `rfft2`, (side, side / 2 + 1) float32."""
    radius = np.hypot(*frequencies(_SIDE, _SIDE))[:, : _SIDE // 2 + 1]
    inside = (radius > 0) & (radius <= 0.5)
    octaves = np.log(np.where(inside, radius, 1) / _CENTRE_FREQUENCY)
    found = inside * np.exp(-(octaves**2) / (2 * _BANDWIDTH**2))
    return found.astype(np.float32)


@functools.cache
def _central() -> np.ndarray:
    """How much the centre is looked at, (side, side) float32."""
    # The published centre is pixel 127 of 0 .. 255.
    squares = np.square(np.arange(_SIDE) - (_SIDE // 2 - 1.0))
    found = np.exp(-(squares[:, None] + squares) / _CENTRE_RADIUS**2)
    return found.astype(np.float32)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _extreme(planes: Array, largest: bool) -> Array:
    """Least or largest value of each image and channel, (n, c, 1, 1).

    The gradient goes to one of the values that are equal to it. JAX's own compares all
    values with it, and where the compiler computes them anew with other rounding, none
    is equal, which gives 0 / 0.
    """
    # Along one axis after the other: several times faster on CPUs than along both at once.
    reduce = jnp.max if largest else jnp.min
    return reduce(reduce(planes, axis=2, keepdims=True), axis=3, keepdims=True)


@_extreme.defjvp
def _extreme_jvp(largest: bool, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (planes,), (tangent,) = primals, tangents
    n, channels, height, width = planes.shape
    flat = planes.reshape(n, channels, height * width)
    place = (jnp.argmax if largest else jnp.argmin)(flat, axis=-1, keepdims=True)
    slope = jnp.take_along_axis(tangent.reshape(flat.shape), place, axis=-1)
    return _extreme(planes, largest), slope[..., None]


def _stretched(planes: Array) -> Array:
    """Least value of each image and channel to 0, largest to (almost) 1."""
    low, high = _extreme(planes, False), _extreme(planes, True)
    return (planes - low) / (high - low + _EPSILON)


def saliency(image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 1"]:
    """Saliency by simple priors (SDSP), from 0 to 1 in each image.

    The product of three: a bandpass of the colours in Lab, nearness to the centre, and
    warmth of the colour. Computed at 256x256 and brought back to the image's size.

    Args:
      image: float sRGB in [0, 1].
    """
    _, height, width, _ = image.shape
    # Channels first: transforms and matrix products need no transposition then.
    planes = jnp.moveaxis(image, -1, 1)
    small = resizing.bilinear(planes, _SIDE, _SIDE, corners=False)
    lab = jnp.moveaxis(colour.lab(jnp.moveaxis(small, 1, -1)), -1, 1)
    spectrum = jnp.fft.rfft2(lab)
    gain = jnp.asarray(_bandpass()).astype(spectrum.dtype)
    bands = jnp.fft.irfft2(spectrum * gain[None, None], s=(_SIDE, _SIDE))
    frequency = root(jnp.sum(jnp.square(bands), axis=1))
    warm = jnp.sum(jnp.square(_stretched(lab[:, 1:])), axis=1)
    warmth = -jnp.expm1(-warm / _COLOUR_RADIUS**2)
    found = (frequency * _central()[None] * warmth)[:, None]
    large = resizing.bilinear(found, height, width, corners=True)
    return jnp.moveaxis(_stretched(large), 1, -1)


def _averaged(image: Array, size: int) -> Array:
    """`box_average`, with the border repeated so that the boxes are centred."""
    pads = (size // 2, (size - 1) // 2) if size > 1 else (0, 0)
    padded = jnp.pad(image, ((0, 0), pads, pads, (0, 0)), mode="edge")
    return averaging.box_average(padded, size)


def _signed_power_loss(loss: Array, exponent: float) -> Array:
    """1 - the real part of the complex power of 1 - loss."""
    lost = power_loss(loss, exponent)
    turned = math.cos(math.pi * exponent)
    return jnp.where(loss > 1, 1 - turned * (1 - lost), lost)


def vsi(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """Visual-saliency similarity, at most 1, which identical images have.

    The product of the similarities of saliency, gradients^0.4 and colours^0.02, averaged
    with the larger saliency as weight; from 384 pixels on the shorter side, of images
    averaged in boxes of round(side / 256). Equal to `piq.vsi` within 2e-6.

    Args:
      image_a, image_b: float images of one shape in [0, 1], at least 2x2.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    return 1.0 - loss(image_a, image_b)


def loss(
    image_a: Float[Array, "n h w 3"], image_b: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """1 - `vsi` from dissimilarities, which rounding leaves 0: the metric `vsi`."""
    check_pair(image_a, image_b, "vsi", MINIMUM)
    images = jnp.concatenate([image_a, image_b]).astype(jnp.float32)
    size = averaging.box_size(*images.shape[1:3])
    salient_a, salient_b = jnp.split(
        _averaged(one_by_one(saliency, images), size)[..., 0], 2
    )
    lmn_a, lmn_b = jnp.split(colour.lmn(255 * _averaged(images, size)), 2)
    gradients = dissimilarity(
        scharr_magnitude(lmn_a[..., :1]), scharr_magnitude(lmn_b[..., :1]), _OF_GRADIENT
    )[..., 0]
    colours = dissimilarity(lmn_a[..., 1:], lmn_b[..., 1:], _OF_COLOUR)
    of_shape = either(
        dissimilarity(salient_a, salient_b, _OF_SALIENCY),
        power_loss(gradients, _GRADIENT_EXPONENT),
    )
    of_colour = _signed_power_loss(
        either(colours[..., 0], colours[..., 1]), _COLOUR_EXPONENT
    )
    weight = jnp.maximum(salient_a, salient_b)
    # Two images without anything salient have similarity 1.
    return jnp.sum(either(of_shape, of_colour) * weight, axis=(1, 2)) / (
        jnp.sum(weight, axis=(1, 2)) + _EPSILON
    )


load_vsi = weightless.loader("vsi", loss)
