"""Information fidelity criterion: what a distorted image tells of its reference, in bits.

Source: Sheikh, Bovik & de Veciana 2005, "An information fidelity criterion for image
quality assessment using natural scene statistics"
(https://doi.org/10.1109/TIP.2005.859389). Bands of a steerable pyramid are Gaussian scale
mixtures, the distortion is a gain and independent noise. The procedure is that of the
authors' MATLAB release (`ifcvec`): luma in 0 to 255, four scales of the pyramid with sp5
filters, two of six orientations, vectors of 3x3 coefficients, windows of 17, 9, 5 and 3
coefficients from the finest scale to the coarsest. Equal to that procedure written again
with NumPy and the pyramid of pyrtools; MATLAB itself was not run.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import bounds, colour, pyramids
from pim_jax.ops.fast_cpu import banded

MINIMUM_SIZE = 65
_ORDER, _ORIENTATIONS = 5, (0, 3)
_WINDOWS = (17, 9, 5, 3)
_SIDE = 3  # of the blocks that are taken as vectors
# What float32 cannot tell from 0: of luma in 0 to 255, and of a band's own variance.
_NO_VARIANCE = 1e-8
_LEAST_NOISE, _LEAST_SHARE = 1e-10, 1e-6
_EPSILON = 1e-8


class _Mixture(NamedTuple):
    """A band as a Gaussian scale mixture of vectors with nine elements."""

    scale: Float[Array, "n rows columns"]  # of each block, 1 on average
    variances: Float[Array, "n 9"]  # along the principal axes


def _bands(image: Float[Array, "n h w"]) -> list[Float[Array, "n o _h _w"]]:
    """Two orientations at four scales, finest first; borders are reflected."""
    filters = pyramids.steerable_filters(_ORDER)

    def correlated(
        maps: Array, kernels: list[np.ndarray], stride: int = 1
    ) -> list[Array]:
        radius = len(kernels[0]) // 2
        border = ((0, 0), (radius, radius), (radius, radius))
        padded = jnp.pad(maps, border, mode="reflect")
        return pyramids.correlate(padded, kernels, stride, padding="valid")

    (low,) = correlated(image, [filters["lo0"]])
    chosen = [filters["bands"][k] for k in _ORIENTATIONS]
    found = []
    for scale in range(len(_WINDOWS)):
        if scale > 0:
            (low,) = correlated(low, [filters["lo"]], stride=2)
        found.append(jnp.stack(correlated(low, chosen), axis=1))
    return found


def _mixture(band: Float[Array, "n h w"]) -> _Mixture:
    """The covariance of all blocks, and the scale of those that do not overlap.

    Along principal axes, since the inverse of the covariance in float32 would have lost
    the small variances. The axes are constants for the gradient, and the covariance
    along them has zeros off its diagonal in value only.
    """
    height, width = band.shape[1:]
    shifts = [(i, j) for i in range(_SIDE) for j in range(_SIDE)]
    blocks = jnp.stack(
        [band[:, i : height - 2 + i, j : width - 2 + j] for i, j in shifts], axis=-1
    )

    def covariance(vectors: Float[Array, "n h w 9"]) -> Float[Array, "n 9 9"]:
        centred = vectors - jnp.mean(vectors, axis=(1, 2), keepdims=True)
        count = centred.shape[1] * centred.shape[2]
        return _products("nhwi,nhwj->nij", centred, centred) / count

    _, axes = jnp.linalg.eigh(covariance(jax.lax.stop_gradient(blocks)))
    along = covariance(_products("nhwi,nij->nhwj", blocks, axes))
    variances = jnp.diagonal(along, axis1=1, axis2=2)
    present = variances > _NO_VARIANCE
    deviation = jnp.sqrt(jnp.where(present, variances, 1.0))
    correlation = along / (deviation[:, :, None] * deviation[:, None, :])
    # The inverse of the correlation matrix to first order: it is that of the identity.
    inverse = 2 * jnp.eye(_SIDE**2, dtype=jnp.float32)[None] - correlation
    vectors = _products("nhwi,nij->nhwj", blocks[:, ::_SIDE, ::_SIDE], axes)
    white = jnp.where(present, 1 / deviation, 0.0)[:, None, None, :] * vectors
    scale = jnp.sum(white * _products("nhwi,nij->nhwj", white, inverse), axis=-1)
    return _Mixture(scale / _SIDE**2, jnp.where(present, variances, 0.0))


def _products(subscripts: str, *arrays: Array) -> Array:
    return jnp.einsum(subscripts, *arrays, precision=jax.lax.Precision.HIGHEST)


def _information(
    reference: Float[Array, "n h w"], distorted: Float[Array, "n h w"], window: int
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Bits of the reference that the distorted band lacks, and that there are.

    Only blocks whose window lies within the band count. By the moments of the reference
    and of the error, so that equal bands are exactly equal in all that is compared.
    """
    rows, columns = (size // _SIDE for size in reference.shape[1:])
    reference, distorted = (
        x[:, : rows * _SIDE, : columns * _SIDE] for x in (reference, distorted)
    )
    mixture = _mixture(reference)
    radius = window // 2
    margin = -(-radius // _SIDE)
    first = margin * _SIDE + 1 - radius
    x, y = (z[:, first:-first, first:-first] for z in (reference, distorted))
    e = y - x
    maps = jnp.stack([x, e, x * x, e * e, x * e], axis=-1)
    moments = banded.valid(maps, (1 / window,) * window, stride=_SIDE)
    mean_x, mean_e, square_x, square_e, product = jnp.moveaxis(moments, -1, 0)
    variance_x = square_x - jnp.square(mean_x)
    variance_e = square_e - jnp.square(mean_e)
    common = product - mean_x * mean_e
    variance_y = variance_x + 2 * common + variance_e
    covariance = variance_x + common
    flat = variance_x <= _NO_VARIANCE
    gone = flat | (variance_y <= _NO_VARIANCE) | (covariance <= 0)
    safe = jnp.where(flat, 1.0, variance_x)
    excess = jnp.where(gone, 0.0, common) / safe  # gain = 1 + excess
    # The noise is what the reference does not explain, but at least a share of the
    # variance; here what it has beyond that share of the variance of the reference.
    unexplained = jnp.where(gone, 0.0, variance_e - jnp.square(common) / safe)
    beyond = jnp.maximum(unexplained - _LEAST_SHARE * variance_y, 0.0)
    beyond = beyond + _LEAST_SHARE * (2 * common + variance_e)
    beyond = jnp.where(gone, 0.0, beyond)
    scale = mixture.scale[:, margin : rows - margin, margin : columns - margin]
    least = jnp.maximum(0.0, _LEAST_SHARE * safe) + _LEAST_NOISE
    noise = jnp.maximum(least + beyond, _LEAST_NOISE)
    there = jnp.where(flat, 0.0, 1 / least)
    left = jnp.where(gone, 0.0, jnp.square(1 + excess) / noise)
    # There - left by terms that are all 0 for equal bands, however they are rounded.
    difference = (beyond / least - excess * (2 + excess)) / noise
    difference = jnp.where(gone, there, difference)

    def power(ratio: Float[Array, "n h w"]) -> Float[Array, "n h w 9"]:
        return (ratio * scale)[..., None] * mixture.variances[:, None, None, :]

    def bits(of: Array) -> Float[Array, " n"]:
        return jnp.sum(jnp.log1p(of) / math.log(2), axis=(1, 2, 3))

    return bits(power(difference) / (1 + power(left))), bits(power(there))


def _both(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Bits per pixel: how much less IFC is than that of the reference, and the latter."""
    check_pair(reference, distorted, "ifc", MINIMUM_SIZE)
    n, height, width, _ = reference.shape
    both = jnp.concatenate([reference, distorted]).astype(jnp.float32)[..., 0]
    # Bands do not see the mean; without it they have more digits.
    both = 255 * (both - jnp.mean(both, axis=(1, 2), keepdims=True))
    lost = there = jnp.zeros(n, jnp.float32)
    for bands, window in zip(_bands(both), _WINDOWS, strict=True):
        folded = bands.reshape(-1, *bands.shape[2:])
        half = n * len(_ORIENTATIONS)
        bits = _information(folded[:half], folded[half:], window)
        lost, there = (
            total + jnp.sum(x.reshape(n, len(_ORIENTATIONS)), axis=1)
            for total, x in zip((lost, there), bits, strict=True)
        )
    return lost / (height * width), there / (height * width)


def ifc(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """Information fidelity criterion in bits per pixel, >= 0, larger is better.

    It has no natural upper bound: identical images share infinitely many bits. Published
    code stops at a noise of 1e-10; float32 cannot resolve that, so here the noise is at
    least 1e-6 of the variance that the distorted band has in a window. Apart from
    distortions as weak as that, equal to the authors' procedure in double precision
    within 1e-3 of the value.

    Args:
      reference, distorted: luma of one shape in [0, 1], at least 65x65.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    lost, there = _both(reference, distorted)
    return there - lost


def lost_share(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """1 - IFC / (IFC of the reference with itself), in [0, 1]: the metric `ifc`.

    For one reference it puts distorted images in the order of IFC. The divisor has the
    least noise of `ifc`, which makes it finite. 0 for a reference without structure.

    Args and errors: as `ifc`.
    """
    lost, there = _both(reference, distorted)
    return bounds.at_least_zero(lost / (there + _EPSILON))


def _ifc_distance(a: Array, b: Array) -> Array:
    return lost_share(colour.luma(a), colour.luma(b))


ENTRIES = (
    weightless.entry(
        "ifc",
        _ifc_distance,
        "share of IFC (Sheikh 2005) that is lost, luma; the first image is the reference",
        largest=1.0,
        minimum_size=65,
    ),
)
