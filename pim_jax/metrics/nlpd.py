"""Normalised Laplacian pyramid distances: two metrics that share the name.

`nlpd` is that of Laparra, Berardino, Ballé & Simoncelli 2017 ("Perceptually optimized
image rendering", https://doi.org/10.1364/JOSAA.34.001511), equal to `nlpd` of the package
perceptual-quality; `nlpd-fast` is its approximation without a model of the display. Both
return the mean of the distances of the three channels, which the package returns
one by one.

`nlpd-gray` is that of Laparra, Ballé, Berardino & Simoncelli 2016 ("Perceptual image
quality assessment using a normalized Laplacian pyramid"), whose filters were fitted to
photographs and whose weights differ from scale to scale. It sees luma only.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import colour, pyramids
from pim_jax.ops.fast_cpu import banded
from pim_jax.ops.safe_math import root, zero_up_to

_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)

# 2017: display of 5 to 180 cd/m^2, response of photoreceptors, normalisation.
MOST_LEVELS = 6
_SMALLEST_SIDE = 5
_DARKEST, _BRIGHTEST = 5.0, 180.0
_DISPLAY_GAMMA, _RETINA_GAMMA = 2.4, 1 / 2.6
_POOL = np.array(
    [
        [0.04, 0.04, 0.05, 0.04, 0.04],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.05, 0.04, 0.05, 0.04, 0.05],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.04, 0.04, 0.05, 0.04, 0.04],
    ],
    np.float32,
)
_BAND_CONSTANT, _LOWPASS_CONSTANT = 0.17, 4.86
# Errors below are rounding; the slope of their powers would be infinite at 0.
_LEAST_ERROR = 1e-20

# 2016: for each scale the constant and the weights of the neighbours above, below, on
# the left and on the right in the pool. (The published code convolves, and so flips
# its tables; here they stand as they act.)
_GRAY_SCALES = (
    (0.0248, (0.1015, 0.1011, 0.1460, 0.1493)),
    (0.0185, (0.0837, 0.0757, 0.1846, 0.1986)),
    (0.0179, (0.0467, 0.0477, 0.2243, 0.2138)),
    (0.0191, (0.0, 0.0, 0.2616, 0.2503)),
    (0.0220, (0.0, 0.0, 0.2552, 0.2598)),
    (0.2782, (0.0, 0.0, 0.0717, 0.2215)),
)


def levels_for(height: int, width: int) -> int:
    """The number of levels of `nlpd`, at most six, that an image of this size allows.

    Every level from which another one is made needs five pixels on the shorter side, for
    its border to be reflected: 6 levels from 65 pixels, 5 from 33, 4 from 17, 3 from 9,
    2 from 5, else 1, the image itself.
    """
    levels, side = 1, min(height, width)
    while side >= _SMALLEST_SIDE and levels < MOST_LEVELS:
        levels, side = levels + 1, (side + 1) // 2
    return levels


@functools.cache
def _reduce(size: int) -> Float[np.ndarray, "half size"]:
    """Filters and keeps every other sample; (size + 1) // 2 + 2 of them."""
    return banded.correlation(size, _TAPS, stride=2, padding=4, mode="reflect")


@functools.cache
def _expand(size: int) -> Float[np.ndarray, "size half"]:
    """The transposed filter with twice its taps, on what `_reduce` gives."""
    return 2 * banded.correlation(size + 8, _TAPS, stride=2)[:, 4:-4].T


def normalized_pyramid(
    image: Float[Array, "n h w c"], levels: int
) -> list[Float[Array, "n _h _w c"]]:
    """The transform of the 2017 paper without its first power, finest level first.

    Args:
      image: luminances to the power 1 / 2.6.
      levels: including the lowpass residual, at most as many as `levels_for` says.
    """
    found = []
    for _ in range(levels - 1):
        height, width = image.shape[1:3]
        low = banded.separable(image, _reduce(height), _reduce(width))
        band = image - banded.separable(low, _expand(height), _expand(width))
        pool = _pooled(jnp.abs(band))
        found.append(band / (pool + _BAND_CONSTANT))
        image = low[:, 1:-1, 1:-1]
    return [*found, image / (jnp.abs(image) + _LOWPASS_CONSTANT)]


def _pooled(maps: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Sum over the neighbourhood with weights, zeros beyond the border."""
    n, height, width, channels = maps.shape
    folded = jnp.moveaxis(maps, -1, 1).reshape(-1, height, width)
    (pool,) = pyramids.correlate(folded, [_POOL])
    return jnp.moveaxis(pool.reshape(n, channels, height, width), 1, -1)


def _nested_norm(
    a: list[Float[Array, "n _h _w c"]], b: list[Float[Array, "n _h _w c"]]
) -> Float[Array, "n c"]:
    """(mean over levels of RMS^0.6)^(1/0.6), with a finite gradient everywhere."""
    errors = jnp.stack(
        [jnp.mean(jnp.square(x - y), axis=(1, 2)) for x, y in zip(a, b, strict=True)]
    )
    powers = zero_up_to(_LEAST_ERROR, lambda mean_square: mean_square**0.3, errors)
    return jnp.mean(powers, axis=0) ** (1 / 0.6)


def _distance_2017(
    image_a: Float[Array, "n h w c"], image_b: Float[Array, "n h w c"], levels: int
) -> Float[Array, "n c"]:
    n, height, width, _ = image_a.shape
    most = levels_for(height, width)
    if not 1 <= levels <= most:
        raise ValueError(
            f"an image of {height}x{width} pixels allows 1 to {most} levels, found "
            f"{levels}"
        )
    pyramid = normalized_pyramid(jnp.concatenate([image_a, image_b]), levels)
    return _nested_norm([x[:n] for x in pyramid], [x[n:] for x in pyramid])


def nlpd(
    image_a: Float[Array, "n h w c"],
    image_b: Float[Array, "n h w c"],
    levels: int | None = None,
) -> Float[Array, "n c"]:
    """Normalised Laplacian pyramid distance (2017) of every channel.

    The display is assumed to show 5 to 180 cd/m^2 with a gamma of 2.4. Equal within 1e-5
    of the value to `perceptual_quality.nlpd.nlpd` with as many levels on images of 0 to
    255. Six levels do not fit into small images; there the number follows `levels_for`.
    Values for different numbers of levels are not comparable.

    Args:
      image_a, image_b: float images of one shape in [0, 1].
      levels: including the lowpass residual; None for `levels_for` the size.

    Raises:
      ValueError: the shapes differ, or the images are too small for `levels`.
    """
    check_pair(image_a, image_b, "nlpd")
    levels = levels_for(*image_a.shape[1:3]) if levels is None else levels

    def response(image: Array) -> Array:
        linear = image.astype(jnp.float32) ** _DISPLAY_GAMMA
        return (_DARKEST + (_BRIGHTEST - _DARKEST) * linear) ** _RETINA_GAMMA

    return _distance_2017(response(image_a), response(image_b), levels)


def nlpd_fast(
    image_a: Float[Array, "n h w c"],
    image_b: Float[Array, "n h w c"],
    levels: int | None = None,
) -> Float[Array, "n c"]:
    """Like `nlpd`, with stored values of 0 to 255 taken for the response of the eye.

    Equal within 1e-5 of the value to `perceptual_quality.nlpd.nlpd_fast`.

    Args:
      image_a, image_b: float images of one shape in [0, 1].
      levels: including the lowpass residual; None for `levels_for` the size.

    Raises:
      ValueError: the shapes differ, or the images are too small for `levels`.
    """
    check_pair(image_a, image_b, "nlpd")
    levels = levels_for(*image_a.shape[1:3]) if levels is None else levels
    a, b = (255 * x.astype(jnp.float32) for x in (image_a, image_b))
    return _distance_2017(a, b, levels)


@functools.cache
def _reduce_gray(size: int) -> Float[np.ndarray, "half size"]:
    return banded.correlation(size, _TAPS, stride=2, padding=2, mode="symmetric")


@functools.cache
def _expand_gray(size: int) -> Float[np.ndarray, "size half"]:
    """Zeros between samples, of which the first and the last are repeated; filtered."""
    half = (size + 1) // 2
    rows = np.arange(size)
    matrix = np.zeros((size, half), np.float32)
    for offset, tap in enumerate(_TAPS, start=-2):
        place = rows + offset
        even = place % 2 == 0
        source = np.clip(place[even] // 2, 0, half - 1)
        np.add.at(matrix, (rows[even], source), 2 * tap)
    return matrix


def _divided_by_neighbours(
    band: Float[Array, "n h w 1"], constant: float, weights: tuple[float, ...]
) -> Float[Array, "n h w 1"]:
    size = jnp.pad(jnp.abs(band), ((0, 0), (1, 1), (1, 1), (0, 0)))
    above, below = size[:, :-2, 1:-1], size[:, 2:, 1:-1]
    left, right = size[:, 1:-1, :-2], size[:, 1:-1, 2:]
    neighbours = zip(weights, (above, below, left, right), strict=True)
    return band / (constant + sum(w * x for w, x in neighbours))


def _gray_pyramid(image: Float[Array, "n h w 1"]) -> list[Float[Array, "n _h _w 1"]]:
    found = []
    for constant, weights in _GRAY_SCALES[:-1]:
        height, width = image.shape[1:3]
        low = banded.separable(image, _reduce_gray(height), _reduce_gray(width))
        up = banded.separable(low, _expand_gray(height), _expand_gray(width))
        found.append(_divided_by_neighbours(image - up, constant, weights))
        image = low
    return [*found, _divided_by_neighbours(image, *_GRAY_SCALES[-1])]


def nlpd_gray(
    image_a: Float[Array, "n h w 1"], image_b: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """Normalised Laplacian pyramid distance (2016): the mean over scales of RMS errors.

    Six scales, each value divided by a constant and a sum over its neighbours. Borders
    follow the authors' MATLAB code: symmetric before filtering, the lower level repeated
    before its expansion, zeros in the pool. Equal within 1e-5 of the value to `NLPD` of
    pyiqa on images of one channel; IQA-optimization's has other borders and interpolates
    linearly.

    Args:
      image_a, image_b: luma of one shape in [0, 1].

    Raises:
      ValueError: the shapes differ.
    """
    check_pair(image_a, image_b, "nlpd")
    n = image_a.shape[0]
    both = jnp.concatenate([image_a, image_b]).astype(jnp.float32)
    errors = jnp.stack(
        [
            jnp.mean(jnp.square(x[:n] - x[n:]), axis=(1, 2, 3))
            for x in _gray_pyramid(both)
        ]
    )
    return jnp.mean(root(errors, _LEAST_ERROR), axis=0)


def _nlpd_distance(a: Array, b: Array) -> Array:
    return jnp.mean(nlpd(a, b), axis=-1)


def _nlpd_fast_distance(a: Array, b: Array) -> Array:
    return jnp.mean(nlpd_fast(a, b), axis=-1)


def _nlpd_gray_distance(a: Array, b: Array) -> Array:
    return nlpd_gray(colour.luma(a), colour.luma(b))


load_nlpd = weightless.loader("nlpd", _nlpd_distance)
load_nlpd_fast = weightless.loader("nlpd-fast", _nlpd_fast_distance)
load_nlpd_gray = weightless.loader("nlpd-gray", _nlpd_gray_distance)
