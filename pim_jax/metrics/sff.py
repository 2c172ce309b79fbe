"""Sparse feature fidelity: blocks compared by the responses of learned simple cells.

Source: Chang, Yang, Gan & Wang 2013, "Sparse feature fidelity for perceptual image quality
assessment" (https://doi.org/10.1109/TIP.2013.2266579). Two parts: features of blocks of
8x8 pixels and three channels, which independent component analysis found in photographs,
are compared where the block changed much (visual attention) and the reference responds
(visual threshold); and the means of blocks are correlated. Constants, blocks and
selections are those of the authors' release 2.0. Their features were not at hand: ours
were learned as they describe, from other photographs (`tests/golden/sff_features.py`), so
scores are not theirs; by how much is not known. Equal to the same steps written with
NumPy, where ties are told apart as here.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.io import files, npz
from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import safe_math, windows

SIDE = 8  # of a block, in pixels
MINIMUM_SIZE = 2 * SIDE + 1
_LUMINANCE_WEIGHT = 0.8
_THRESHOLD = 0.4  # of the mean squared response of the reference
_FEATURE_CONSTANT = 0.08
_LUMINANCE_CONSTANT = 0.001  # pixels in 0 to 255
# Means of blocks of 8-bit images are multiples of 1/192, so many are tied with their
# median. What is closer than this to it reaches it, or rounding would choose.
_TIED = 1e-3


@functools.cache
def features() -> Float[np.ndarray, "8 8 8 3"]:
    """The learned matrix: feature, row, column, channel; for pixels in 0 to 255."""
    return npz.read(files.packaged("pim_jax.metrics", "packaged", "sff_features.npz"))[
        "features"
    ]


def sff(
    reference: Float[Array, "n h w 3"], distorted: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """One minus SFF, 0 to 2; not symmetric.

    Blind to brightness, as means are correlated, and to the last row and column of pixels,
    which belong to no block. A reference of one colour is at distance 0 from everything.
    All this is so in the authors' release. Differentiable but for jumps where the selection
    of blocks changes.

    Args:
      reference, distorted: sRGB in [0, 1], at least 17x17.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    check_pair(reference, distorted, "sff", MINIMUM_SIZE)
    blocks = [
        windows.windows(255 * image.astype(jnp.float32)[:, :-1, :-1], SIDE, SIDE)
        for image in (reference, distorted)
    ]
    means = [jnp.mean(x, (2, 3, 4)) for x in blocks]
    details = [
        x - mean[:, :, None, None, None] for x, mean in zip(blocks, means, strict=True)
    ]
    feature_loss, luminance_loss = _feature_loss(*details), _luminance_loss(*means)
    return feature_loss + _LUMINANCE_WEIGHT * (luminance_loss - feature_loss)


def _feature_loss(a: Array, b: Array) -> Float[Array, " n"]:
    """1 - similarity of the features, over blocks that changed and are seen; 0 if none."""
    attended = _largest_half(jnp.mean(jnp.abs(a - b), (2, 3, 4)))
    in_a, in_b = (
        jnp.einsum("npijc,fijc->npf", x, features(), precision="highest")
        for x in (a, b)
    )
    response = jnp.sum(jnp.square(in_a), -1)
    threshold = _THRESHOLD * _mean_of(response, attended)
    seen = attended & (response > threshold[:, None])
    loss = safe_math.dissimilarity(in_a, in_b, _FEATURE_CONSTANT)
    return _mean_of(jnp.mean(loss, -1), seen)


def _luminance_loss(
    a: Float[Array, "n p"], b: Float[Array, "n p"]
) -> Float[Array, " n"]:
    """1 - correlation of the means of blocks that changed."""
    chosen = _largest_half(jnp.abs(a - b))
    centred = [jnp.where(chosen, x - _mean_of(x, chosen)[:, None], 0.0) for x in (a, b)]
    sizes = [safe_math.root(jnp.sum(jnp.square(x), -1)) for x in centred]
    one, other = (
        x / jnp.maximum(size, _LUMINANCE_CONSTANT)[:, None]
        for x, size in zip(centred, sizes, strict=True)
    )
    # Of unit vectors 1 - u.v is |u - v|^2 / 2, which rounding leaves 0 where they agree.
    product = sizes[0] * sizes[1]
    share = product / (product + _LUMINANCE_CONSTANT)
    return share * jnp.sum(jnp.square(one - other), -1) / 2


def _largest_half(values: Float[Array, "n p"]) -> Array:
    """Where values reach their median."""
    ordered = jnp.sort(values, -1)
    count = values.shape[-1]
    median = (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2
    return ~(values < median[:, None] - _TIED)  # and where they are NaN


def _mean_of(values: Float[Array, "n p"], chosen: Array) -> Float[Array, " n"]:
    """The mean of chosen values, 0 of none."""
    count = jnp.maximum(jnp.sum(chosen, -1, dtype=jnp.float32), 1.0)
    return jnp.sum(jnp.where(chosen, values, 0.0), -1) / count


load_sff = weightless.loader("sff", sff)
