"""Complex wavelet structural similarity, which forgives small shifts and rotations.

Source: Sampat, Wang, Gupta, Bovik & Markey 2009, "Complex wavelet structural similarity: a
new image similarity index" (https://doi.org/10.1109/TIP.2009.2025923). The form is that
of the authors' MATLAB code and of its ports: of a complex steerable pyramid with eight
orientations the bands of the fourth level, windows of 7x7 coefficients, no constant K, and
a Gaussian weight over the band.

A band has no mean and its phase is compared only up to a constant in each window. So a
brightness added to an image changes nothing, nor does taking its negative.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import bounds, colour
from pim_jax.ops.fast_cpu import banded
from pim_jax.ops.safe_math import magnitude

MINIMUM_SIZE = 64
ORIENTATIONS = 8
_WINDOW = 7
# The fourth level holds wavelengths of 8 to 32 pixels at an eighth of the resolution.
_FINEST_OCTAVE, _DECIMATION = 3, 8
# Local energies, for images in [0, 1], that rounding alone may produce; in them windows
# count as equal. It takes amplitudes of 1e-3 steps of 8 bits to reach it.
_NO_ENERGY = 1e-11
_SMALLEST = 1e-30


def _frequencies(size: int) -> np.ndarray:
    """Those that a band keeps along an axis, in the order of the Fourier transform."""
    kept = -(-size // _DECIMATION)
    return np.fft.fftfreq(kept, 1 / kept).astype(int)


@functools.cache
def _filters(height: int, width: int) -> Float[np.ndarray, "o rows columns"]:
    """Transfer functions of the bands at the frequencies they keep.

    A raised cosine over two octaves times a power of the cosine of the angle, which is 0
    for half of all directions. (Its factor i^7 is left out.)
    """
    y = 2 * _frequencies(height)[:, None] / height  # in units of the highest frequency
    x = 2 * _frequencies(width)[None, :] / width
    octave = np.log2(np.maximum(np.hypot(x, y), 1e-9))

    def rise(shift: int) -> np.ndarray:
        return np.pi / 2 * np.clip(octave + shift, -1, 0)

    radial = np.cos(rise(_FINEST_OCTAVE + 1)) * -np.sin(rise(_FINEST_OCTAVE))
    order = ORIENTATIONS - 1
    norm = 2**order * math.factorial(order)
    norm /= math.sqrt(ORIENTATIONS * math.factorial(2 * order))
    direction = np.pi / ORIENTATIONS * np.arange(ORIENTATIONS)[:, None, None]
    angular = np.maximum(np.cos(np.arctan2(y, x) - direction), 0) ** order
    return (2 * norm * radial * angular).astype(np.float32)


def _bands(image: Float[Array, "n h w"]) -> Complex[Array, "n o rows columns"]:
    """The coefficients of the fourth level, in the unit of the image."""
    height, width = image.shape[1:]
    # No band sees the mean; with it rounding errors would be larger.
    spectrum = jnp.fft.fft2(image - jnp.mean(image, axis=(1, 2), keepdims=True))
    spectrum = spectrum[:, _frequencies(height)][:, :, _frequencies(width)]
    filters = _filters(height, width)
    share = filters[0].size / (height * width)
    gain = jnp.asarray(share * filters).astype(spectrum.dtype)
    return jnp.fft.ifft2(spectrum[:, None] * gain[None])


def _weights(height: int, width: int, sigma: float) -> Float[np.ndarray, "h w"]:
    """Gaussian about the middle of a map with the sum 1."""
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    weight = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
    return (weight / weight.sum()).astype(np.float32)


def cw_ssim(
    image_a: Float[Array, "n h w 1"], image_b: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """Complex wavelet structural similarity in [0, 1], 1 for identical images.

    In each window 2 |sum c_a conj(c_b)| / sum (|c_a|^2 + |c_b|^2), averaged with the
    weights of a Gaussian (standard deviation: a quarter of the band's height), then over
    orientations. Windows without any energy in both images count as 1.

    Equal within 1e-5 to `CW_SSIM` of pyiqa on luma that is not rounded. Given RGB, pyiqa
    rounds luma to integers first, which changed values by up to 4e-3 on test images that
    are smooth at these scales.

    Args:
      image_a, image_b: luma of one shape in [0, 1], at least 64x64.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    return 1.0 - loss(image_a, image_b)


def loss(
    image_a: Float[Array, "n h w 1"], image_b: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """1 - `cw_ssim`, without rounding where it is small: the metric `cw-ssim`.

    With P = sum c_a conj(c_b) and D = sum |c_a - c_b|^2 the energy is D + 2 Re P, and
    energy - 2 |P| = D - 2 (Im P)^2 / (|P| + Re P), where Re P is above 0.
    """
    check_pair(image_a, image_b, "cw-ssim", MINIMUM_SIZE)
    n = len(image_a)
    both = jnp.concatenate([image_a, image_b]).astype(jnp.float32)[..., 0]
    bands = jnp.moveaxis(_bands(both), 1, -1)
    a, b = bands[:n], bands[n:]
    apart = a - b
    maps = jnp.concatenate(
        [
            a.real * b.real + a.imag * b.imag,
            a.real * apart.imag - a.imag * apart.real,  # 0 where a and b are equal
            jnp.square(apart.real) + jnp.square(apart.imag),
        ],
        axis=-1,
    )
    means = banded.valid(maps, (1 / _WINDOW,) * _WINDOW)
    real, imaginary, difference = jnp.split(means, 3, axis=-1)
    size = magnitude(real, imaginary, _SMALLEST)
    # Where the size counts as 0, dividing by what is left would blow rounding up.
    in_phase = (real > 0) & (size > 0)
    turned = 2 * jnp.square(imaginary) / jnp.where(in_phase, size + real, 1.0)
    lost = difference - jnp.where(in_phase, turned, 2 * (size - real))
    energy = difference + 2 * real
    maps = bounds.at_least_zero(lost) / (energy + _NO_ENERGY)
    rows, columns = maps.shape[1:3]
    weights = _weights(rows, columns, sigma=a.shape[1] / 4)
    per_band = jnp.sum(maps * weights[None, ..., None], axis=(1, 2))
    return jnp.mean(per_band, axis=-1)


def _cw_ssim_distance(a: Array, b: Array) -> Array:
    return loss(colour.luma(a), colour.luma(b))


load_cw_ssim = weightless.loader("cw-ssim", _cw_ssim_distance)
