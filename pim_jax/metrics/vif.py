"""Visual information fidelity in the pixel domain.

Source: Sheikh & Bovik 2006, "Image information and visual quality", in the simpler form
that its authors published as `vifp`: local statistics of luma at four scales instead of
those of wavelet bands. Equal to `piq.vif_p`.

It asks how much of the information in a reference a viewer still finds in a distorted
image, so the two arguments have different parts: the first one is the reference.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.metrics import weightless
from pim_jax.metrics.checks import check_pair
from pim_jax.ops import bounds, colour
from pim_jax.ops.fast_cpu import banded

MINIMUM_SIZE = 41
_WINDOWS = tuple(banded.gaussian(size, size / 5) for size in (17, 9, 5, 3))
_NOISE_VARIANCE = 2.0
# Variances below, of luma in 0 to 255, are rounding errors of float32 and count as 0.
_NO_VARIANCE = 2e-3
_ROUNDING = 1e-6
_EPSILON = 1e-8


def _information(
    reference: Float[Array, "n h w 1"],
    distorted: Float[Array, "n h w 1"],
    window: tuple[float, ...],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Sums over windows: how much of the information is lost, and how much there was.

    By the moments of the reference and of the error e = distorted - reference, so that
    equal images are exactly equal in everything that is compared.
    """
    r, e = reference, distorted - reference
    moments = banded.valid(jnp.concatenate([r, e, r * r, e * e, r * e], -1), window)
    mean_r, mean_e, square_r, square_e, product = jnp.split(moments, 5, axis=-1)
    variance_r = square_r - jnp.square(mean_r)
    variance_e = square_e - jnp.square(mean_e)
    common = product - mean_r * mean_e
    variance_d = variance_r + 2 * common + variance_e
    covariance = variance_r + common
    flat_r, flat_d = variance_r < _NO_VARIANCE, variance_d < _NO_VARIANCE
    # Distorted = gain * reference + independent noise. A negative gain keeps nothing.
    gone = flat_r | flat_d | (covariance < 0)
    variance_r, safe = (jnp.where(flat_r, x, variance_r) for x in (0.0, 1.0))
    excess = jnp.where(gone, 0.0, common) / safe  # gain = 1 + excess
    noise = jnp.where(gone, 0.0, variance_e - jnp.square(common) / safe)
    # What is left by rounding counts as 0.
    noise = jnp.where(noise <= _ROUNDING * variance_d, 0.0, noise)
    # log1p(there) - log1p(left) by their difference, whose terms are all 0 for equal
    # images, whatever the order in which they are rounded.
    there = variance_r / _NOISE_VARIANCE
    squared = jnp.square(1 + excess)
    left = jnp.where(gone, 0.0, squared * variance_r / (noise + _NOISE_VARIANCE))
    difference = noise - _NOISE_VARIANCE * excess * (2 + excess)
    difference = jnp.where(gone, there, there * difference / (noise + _NOISE_VARIANCE))
    lost = jnp.log1p(difference / (1 + left))
    return jnp.sum(lost, axis=(1, 2, 3)), jnp.sum(jnp.log1p(there), axis=(1, 2, 3))


def vif(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """Visual information fidelity, >= 0: 1 for identical images, 0 if nothing is left.

    More than 1 where the distorted image has the contrast of the reference raised. 1
    for a reference without any structure, in which there is no information to lose.

    Windows of 17, 9, 5 and 3 pixels with a Gaussian of a fifth of that as standard
    deviation, valid positions; the same Gaussian before every other pixel is dropped.
    Equal to `piq.vif_p(distorted, reference, data_range=1)` within 1e-4 of the value.
    There variances count as 0 below 1e-8, here below 2e-3 (in 0 to 255), which float32
    cannot tell from 0.

    Args:
      reference, distorted: luma of one shape in [0, 1], at least 41x41.

    Raises:
      ValueError: the shapes differ or the images are too small.
    """
    return 1.0 - loss(reference, distorted)


def loss(
    reference: Float[Array, "n h w 1"], distorted: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
    """1 - `vif`, without rounding where it is small: the metric `vif`."""
    check_pair(reference, distorted, "vif", MINIMUM_SIZE)
    # Second moments about the mean of each image lose fewer digits than about 0.
    r, d = (
        255 * (x - jnp.mean(x, axis=(1, 2, 3), keepdims=True))
        for x in (reference.astype(jnp.float32), distorted.astype(jnp.float32))
    )
    lost = there = jnp.zeros(reference.shape[0], jnp.float32)
    for scale, window in enumerate(_WINDOWS):
        if scale > 0:
            both = banded.valid(jnp.concatenate([r, d], -1), window, stride=2)
            r, d = both[..., :1], both[..., 1:]
        more_lost, more_there = _information(r, d, window)
        lost, there = lost + more_lost, there + more_there
    # The two halves of a batch may be summed in another order.
    found = lost / (there + _EPSILON)
    return bounds.zero_where_equal(found, reference, distorted)


def _vif_distance(a: Array, b: Array) -> Array:
    return loss(colour.luma(a), colour.luma(b))


ENTRIES = (
    weightless.entry(
        "vif",
        _vif_distance,
        "1 - piq.vif_p (Sheikh 2006), luma; the first image is the reference, negative "
        "where contrast is raised",
        smallest=-float("inf"),
        largest=1.0,
        minimum_size=41,
    ),
)
