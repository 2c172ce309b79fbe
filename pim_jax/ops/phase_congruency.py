"""Phase congruency: how much the Fourier components of an image are in step, by place.

Kovesi 1999, "Image features from phase congruency", as FSIM (Zhang et al. 2011) takes it
over: log-Gabor filters of four scales and four orientations, and a threshold for noise.
Constants and the frequency grid are those of piq 0.8.0.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.ops import safe_math
from pim_jax.ops.order import lower_median

SCALES = 4
ORIENTATIONS = 4
_SHORTEST = 6.0  # wavelength of the finest scale in pixels; each scale doubles it
_BANDWIDTH = 0.55  # radial deviation by centre frequency
_SPREAD = math.pi / (ORIENTATIONS * 1.2)  # angular deviation
_CUTOFF, _ORDER = 0.45, 15  # of the Butterworth lowpass that cuts the corners off
_NOISE_DEVIATIONS = 2.0
# The threshold was derived for another measure; for this one it is too high by about this.
_NOISE_EXCESS = 1.7
_EPSILON = float(np.finfo(np.float32).eps)


def frequencies(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles per pixel down and across, (height, width) float64, zero in the corner.

    Odd sizes are divided by one less than the size, as published codes do: there the
    highest frequency is 0.5, which it is not.
    """

    def axis(size: int) -> np.ndarray:
        steps = np.arange(size) - size // 2
        return np.fft.ifftshift(steps / (size - size % 2))

    down, across = np.meshgrid(axis(height), axis(width), indexing="ij")
    return down, across


@functools.lru_cache(maxsize=8)
def log_gabor_filters(height: int, width: int) -> np.ndarray:
    """Real transfer functions (ORIENTATIONS, SCALES, height, width), float32.

    Zero in the corner. Kept for the last few sizes.
    """
    down, across = frequencies(height, width)
    radius = np.hypot(down, across)
    lowpass = 1 / (1 + (radius / _CUTOFF) ** (2 * _ORDER))
    radius[0, 0] = 1
    wavelengths = _SHORTEST * 2.0 ** np.arange(SCALES)
    octaves = np.log(radius * wavelengths[:, None, None])
    radial = np.exp(-(octaves**2) / (2 * math.log(_BANDWIDTH) ** 2)) * lowpass
    radial[:, 0, 0] = 0
    angle = np.arctan2(-across, down)
    centres = np.arange(ORIENTATIONS) * math.pi / ORIENTATIONS
    away = angle - centres[:, None, None]
    away = np.arctan2(np.sin(away), np.cos(away))
    angular = np.exp(-(away**2) / (2 * _SPREAD**2))
    return (angular[:, None] * radial).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _noise_thresholds(height: int, width: int) -> np.ndarray:
    """(ORIENTATIONS,) float32: the threshold by the median amplitude at the finest scale.

    If that scale shows nothing but noise, its squared amplitude is chi-squared with two
    degrees of freedom, and its median tells the noise's power; the filters tell how much
    of it the sum over all scales lets through (a Rayleigh distribution).
    """
    filters = log_gabor_filters(height, width).astype(np.float64)
    # The part that is even in frequency, whose response is real.
    flipped = np.roll(filters[:, :, ::-1, ::-1], (1, 1), axis=(2, 3))
    products = np.einsum(
        "oshw,othw->ost", (filters + flipped) / 2, (filters + flipped) / 2
    )
    # 2 sum_s + 4 sum_{s<t}: twice the sum over all pairs.
    through = 2 * np.sum(products, axis=(1, 2))
    power = 1 / (math.log(2) * np.sum(filters[:, 0] ** 2, axis=(1, 2)))
    rayleigh = np.sqrt(through * power / 2)
    mean, deviation = math.sqrt(math.pi / 2), math.sqrt(2 - math.pi / 2)
    factor = (mean + _NOISE_DEVIATIONS * deviation) / _NOISE_EXCESS
    return (factor * rayleigh).astype(np.float32)


def phase_congruency(image: Float[Array, "n h w"]) -> Float[Array, "n h w"]:
    """In [0, 1]: near 1 at edges and lines of any contrast, near 0 between them.

    The sum over orientations of the energy that exceeds the noise, by the sum of all
    amplitudes. Values of 0 .. 255 are expected: amplitudes below about 1e-6 count as none.
    In a uniform image, where no place differs from any other, it is 1 everywhere.

    Args:
      image: grey, at least 2 x 2.
    """
    height, width = image.shape[1:]
    # The filters ignore a constant. Without it the response to a uniform image is
    # exactly 0, not the phases of rounding errors.
    image = image - jax.lax.stop_gradient(image[:, :1, :1])
    spectrum = jnp.fft.fft2(image)[:, None, None]
    filters = jnp.asarray(log_gabor_filters(height, width)).astype(spectrum.dtype)
    response = jnp.fft.ifft2(spectrum * filters[None])
    even = [jnp.real(response[:, :, s]) for s in range(SCALES)]
    odd = [jnp.imag(response[:, :, s]) for s in range(SCALES)]
    sum_even, sum_odd = sum(even[1:], even[0]), sum(odd[1:], odd[0])
    amplitudes = [safe_math.magnitude(e, o) for e, o in zip(even, odd, strict=True)]
    length = safe_math.magnitude(sum_even, sum_odd)
    # |sine| of each scale's angle to the sum of all, times its amplitude.
    across = sum(
        jnp.abs(e * sum_odd - o * sum_even) for e, o in zip(even, odd, strict=True)
    )
    energy = length - across / (length + _EPSILON)
    finest = amplitudes[0].reshape(*amplitudes[0].shape[:2], height * width)
    noise = lower_median(finest) * _noise_thresholds(height, width)[None]
    excess = jax.nn.relu(energy - noise[..., None, None])
    total = jnp.sum(sum(amplitudes[1:], amplitudes[0]), axis=1)
    return (jnp.sum(excess, axis=1) + _EPSILON) / (total + _EPSILON)
