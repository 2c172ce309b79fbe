"""Most apparent distortion: two strategies of viewers, and a weight between them.

Source: Larson & Chandler 2010, "Most apparent distortion: full-reference image quality
assessment and the role of strategy" (https://doi.org/10.1117/1.3267105). In images of high
quality viewers look for distortions that are visible beyond the masking of the image; in
others they compare the appearance, here local statistics of log-Gabor bands.

There is no official code to equal. The formulas are those of the port in pyiqa, with what
it does differently from the paper: the contrast of a block is half the least of up to
four blocks, five scales are weighted by the index of their orientation, and one frequency
is left out. Equal to it for luma of square images (`tests/golden/pyramid_metrics.py`); for
others its filter for the sensitivity of the eye is reshaped with height and width
exchanged, while here frequencies of both axes are in the same unit, whatever the size.

The first image is the reference.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import colour
from pim_jax.ops.safe_math import root

BLOCK = 16  # of the local statistics, at every fourth pixel
_STEP = 4

# Detection.
_LUMINANCE_SCALE, _LUMINANCE_POWER = 0.02874, 2.2 / 3
_CYCLES_PER_DEGREE = 32
_PEAK_FREQUENCY, _PEAK_SENSITIVITY = 7.8909, 0.9809
_DARKEST, _LEAST_CONTRAST = 0.5, -5.0
_DETECTION_SCALE = 200.0

# Appearance.
_SCALES, _ORIENTATIONS = 5, 4
_SHORTEST_WAVELENGTH, _WAVELENGTH_RATIO = 3, 3
_BANDWIDTH, _ANGULAR_WIDTH = 0.55, math.pi / _ORIENTATIONS / 1.5
_ORIENTATION_WEIGHTS = np.array([0.5, 0.75, 1, 5], np.float32) / 13.25

# Between them.
_BETA_1 = math.exp(-2.55 / 3.35)
_BETA_2 = 1 / (math.log(10) * 3.35)

_EPSILON = 1e-12
_SMALLEST = 1e-30


class _Moments(NamedTuple):
    """The mean and the central moments of order 2 to 4 of groups of values."""

    mean: Float[Array, "..."]
    second: Float[Array, "..."]
    third: Float[Array, "..."]
    fourth: Float[Array, "..."]


def _joined(groups: list[_Moments]) -> _Moments:
    """Moments of the union of equally large groups, without loss of digits."""
    count = len(groups)
    mean = functools.reduce(jnp.add, [g.mean for g in groups]) / count
    second = third = fourth = jnp.zeros_like(groups[0].mean)
    for g in groups:
        shift = g.mean - mean
        square = shift * shift
        second = second + g.second + square
        third = third + g.third + shift * (3 * g.second + square)
        fourth = fourth + g.fourth + 4 * shift * g.third
        fourth = fourth + square * (6 * g.second + square)
    return _Moments(mean, second / count, third / count, fourth / count)


def _block_moments(maps: Float[Array, "n h w"]) -> _Moments:
    """Of blocks of 16x16 at every fourth pixel, each (n, (h - 12) // 4, (w - 12) // 4).

    First of cells of 4x4 pixels, then of four of them below each other, then of four
    such columns. Differences of raw moments would lose all digits where a band hardly
    varies within a block.
    """
    n, height, width = maps.shape
    rows, columns = height // _STEP, width // _STEP
    maps = maps[:, : rows * _STEP, : columns * _STEP]
    cells = maps.reshape(n, rows, _STEP, columns, _STEP)
    mean = jnp.mean(cells, axis=(2, 4))
    shift = cells - mean[:, :, None, :, None]
    square = shift * shift
    moments = _Moments(
        mean,
        jnp.mean(square, axis=(2, 4)),
        jnp.mean(square * shift, axis=(2, 4)),
        jnp.mean(square * square, axis=(2, 4)),
    )
    for axis in (1, 2):
        moments = _joined(
            [
                _Moments(
                    *(
                        jax.lax.slice_in_dim(x, i, x.shape[axis] - 3 + i, axis=axis)
                        for x in moments
                    )
                )
                for i in range(BLOCK // _STEP)
            ]
        )
    return moments


@functools.cache
def _sensitivity(height: int, width: int) -> Float[np.ndarray, "h w2"]:
    """Of the eye, for the frequencies of a real Fourier transform.

    Frequencies are taken half a step too high along axes of even size, as published; the
    real part of what the filter gives is what its mean with its mirror image gives.
    """

    def axis(size: int) -> np.ndarray:
        return (np.arange(size) - (size - 1) / 2) / size * 2 * _CYCLES_PER_DEGREE

    y, x = axis(height)[:, None], axis(width)[None, :]
    oblique = 0.15 * np.cos(4 * np.arctan2(y, x)) + 0.85
    frequency = 0.114 * np.hypot(x, y) / oblique
    gain = 2.6 * (0.0192 + frequency) * np.exp(-(frequency**1.1))
    gain[frequency < 0.114 * _PEAK_FREQUENCY] = _PEAK_SENSITIVITY
    gain = np.fft.ifftshift(gain)
    mirrored = np.roll(gain[::-1, ::-1], 1, axis=(0, 1))
    return (0.5 * (gain + mirrored))[:, : width // 2 + 1].astype(np.float32)


def _detection(
    reference: Float[Array, "n h w"], distorted: Float[Array, "n h w"]
) -> Float[Array, " n"]:
    """How much of the error is visible, from luma in 0 to 255."""
    n, height, width = reference.shape
    both = jnp.concatenate([reference, distorted])
    lightness = _LUMINANCE_SCALE * (both + _EPSILON) ** _LUMINANCE_POWER
    spectrum = jnp.fft.rfft2(lightness)
    gain = jnp.asarray(_sensitivity(height, width)).astype(spectrum.dtype)
    spectrum = spectrum * gain[None]
    seen = jnp.fft.irfft2(spectrum, s=(height, width))
    original, error = seen[:n], seen[n:] - seen[:n]
    # The third map has the error in its original unit: its square is averaged below.
    moments = _block_moments(jnp.concatenate([original, error, distorted - reference]))
    mean, _, luma_error = jnp.split(moments.mean, 3)
    deviation, error_deviation, _ = jnp.split(jnp.sqrt(moments.second + _EPSILON), 3)
    squared_error = jnp.split(moments.second, 3)[2] + jnp.square(luma_error)
    # The least of a block and those before it in both directions.
    padded = jnp.pad(deviation, ((0, 0), (1, 0), (1, 0)), constant_values=jnp.inf)
    rows = jnp.minimum(padded[:, 1:], padded[:, :-1])
    least = jnp.minimum(rows[:, :, 1:], rows[:, :, :-1]) / 2
    dark = mean < _DARKEST
    safe = jnp.where(dark, 1.0, mean)
    masking = jnp.maximum(jnp.log(least / safe), _LEAST_CONTRAST)
    visible = jnp.maximum(jnp.log(error_deviation / safe) - masking, 0.0)
    seen_error = jnp.where(dark, 0.0, visible) * squared_error
    return _DETECTION_SCALE * root(
        jnp.mean(jnp.square(seen_error), axis=(1, 2)), _SMALLEST
    )


@functools.cache
def _log_gabor(
    height: int, width: int
) -> tuple[Float[np.ndarray, "s h w"], Float[np.ndarray, "o h w"]]:
    """Radial and angular factors of the filters, in the order of the transform."""
    y, x = (np.arange(-size / 2, size / 2) / (size / 2) for size in (height, width))
    y, x = y[:, None], x[None, :]
    radius = np.hypot(x, y)
    # The port means the centre, to avoid the logarithm of 0, but sets its neighbour.
    radius[round(height / 2 + 1), round(width / 2 + 1)] = 1
    logarithm = np.log(radius + _EPSILON)
    wavelengths = _SHORTEST_WAVELENGTH * _WAVELENGTH_RATIO ** np.arange(_SCALES)
    offset = logarithm - np.log(2 / wavelengths)[:, None, None]
    radial = np.exp(-(offset**2) / (2 * math.log(_BANDWIDTH) ** 2))
    radial[:, round(height / 2), round(width / 2)] = 0
    direction = math.pi / _ORIENTATIONS * np.arange(_ORIENTATIONS)[:, None, None]
    turned = np.arctan2(-y, x) - direction
    distance = np.abs(np.arctan2(np.sin(turned), np.cos(turned)))
    angular = np.exp(-(distance**2) / (2 * _ANGULAR_WIDTH**2))

    def ordered(filters: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(filters, axes=(1, 2)).astype(np.float32)

    return ordered(radial), ordered(angular)


def _appearance(
    reference: Float[Array, "n h w"], distorted: Float[Array, "n h w"]
) -> Float[Array, " n"]:
    """Difference of local statistics of log-Gabor bands, from luma in 0 to 255."""
    n, height, width = reference.shape
    both = jnp.concatenate([reference, distorted])
    mean = jnp.mean(both, axis=(1, 2), keepdims=True)
    # Apart from the rest, the mean does not spread its rounding errors.
    spectrum = jnp.fft.fft2(both - mean)
    total = height * width * mean[:, 0, 0]
    spectrum = spectrum.at[:, 0, 0].set(total.astype(spectrum.dtype))
    radial, angular = _log_gabor(height, width)

    def of_orientation(filters: Float[Array, "h w"]) -> Float[Array, "n h2 w2"]:
        gain = (radial * filters[None]).astype(spectrum.dtype)
        bands = jnp.fft.ifft2(spectrum[:, None] * gain[None])
        square = jnp.square(bands.real) + jnp.square(bands.imag)
        size = jnp.sqrt(square + _EPSILON)
        moments = _block_moments(size.reshape(2 * n * _SCALES, height, width))
        deviation = jnp.sqrt(moments.second + _EPSILON)
        # Not by a quotient: its gradient has squares of the divisor, which underflow.
        inverse = 1 / deviation
        skewness = moments.third * inverse**3
        kurtosis = moments.fourth * inverse**4
        total = jnp.zeros((), jnp.float32)
        for weight, statistic in ((1, deviation), (2, skewness), (1, kurtosis)):
            a, b = jnp.split(statistic.reshape(2, n, _SCALES, *statistic.shape[1:]), 2)
            total = total + weight * jnp.sum(jnp.abs(a - b)[0], axis=1)
        return total

    # One after the other, since bands of all orientations take much memory.
    maps = jax.lax.map(of_orientation, jnp.asarray(angular))
    weighted = jnp.tensordot(
        _ORIENTATION_WEIGHTS, maps, 1, precision=jax.lax.Precision.HIGHEST
    )
    return root(jnp.mean(jnp.square(weighted), axis=(1, 2)), _SMALLEST)


def mad(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """Most apparent distortion, >= 0, of no fixed scale.

    D^s A^(1-s) of detection D and appearance A, with s = 1 / (1 + b1 D^b2), which is 1
    where D is 0: distortions that are nowhere visible have distance 0, and so has their
    gradient.

    Equal within 1e-4 of the value to `MAD` of pyiqa for square images of one channel.
    Given RGB, pyiqa rounds luma to integers, or, by default, compares the three channels;
    that value is not the mean of the channels' own, and is not reproduced here.

    Args:
      reference, distorted: luma of one shape in [0, 1], at least 16x16.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(reference, distorted, "mad", BLOCK)
    a, b = (255 * x.astype(jnp.float32)[..., 0] for x in (reference, distorted))
    detection, appearance = _detection(a, b), _appearance(a, b)
    hidden = (detection <= 0) | (appearance <= 0)
    detection, appearance = (jnp.where(hidden, 1.0, x) for x in (detection, appearance))
    share = 1 / (1 + _BETA_1 * detection**_BETA_2)
    product = detection**share * appearance ** (1 - share)
    return jnp.where(hidden, 0.0, product)


def _mad_distance(a: Array, b: Array) -> Array:
    return mad(colour.luma(a), colour.luma(b))


load_mad = weightless.loader("mad", _mad_distance)
