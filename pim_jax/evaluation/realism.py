"""Realism as a divergence between sets of images, by their latents.

Distortion compares a reconstruction with its own original; realism asks whether
reconstructions, as a set, could be photographs (Blau & Michaeli 2019,
https://arxiv.org/abs/1901.07821). An ideal critic would know the ratio of the two
densities. PIM gives each image a density q(z|x) at each position, and these add up to a
density of the set without a critic: here are the plug-in divergence of such densities, the
Fréchet distance, the maximum mean discrepancy, and the local Wasserstein distortion that
lies between distortion and realism. The same functions take pixels for z.

All are functions of arrays, of one level of a representation: in JAX, float32, except for
those of moments, which need double precision.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pim_jax import distributions
from pim_jax.distributions import Mixture

_PRECISE = jax.lax.Precision.HIGHEST
_STEEPEST = 1e6  # slope of a standard deviation by its variance
_BLOCK = 256  # points whose densities are computed at once


def set_log_density(z: Float[Array, "s z"], posteriors: Mixture) -> Float[Array, " s"]:
    """Log-density in nats of the mean of posteriors, log 1/N sum_n q(z|x_n).

    Args:
      z: points.
      posteriors: logits (n, m) and loc (n, m, z): of N positions of any images.
    """
    count, _, size = posteriors.loc.shape
    loc = posteriors.loc.reshape(-1, size)
    log_weights = jax.nn.log_softmax(posteriors.logits).ravel() - jnp.log(count)

    def of_point(point: Array) -> Array:
        squared = jnp.sum(jnp.square(point[None] - loc), axis=-1)
        return jax.nn.logsumexp(log_weights - 0.5 * squared)

    found = jax.lax.map(of_point, z, batch_size=_BLOCK)
    return found + distributions.gaussian_constant(size)


def plug_in_kl(
    key: PRNGKeyArray, samples_from: Mixture, p: Mixture, q: Mixture
) -> Float[Array, ""]:
    """KL(P||Q) in nats between the mean posteriors of two sets, one sample a posterior.

    The mean of log p(z) - log q(z) over z drawn from `samples_from`, which must be another
    part of the set of `p`: a point lies closer to its own posterior than to those of other
    images, so with the same part the divergence comes out too large. Likewise `q` must hold
    no reconstruction of an image of `samples_from`, or it comes out too small, and below 0
    where latents tell images well apart. Each density is estimated from N posteriors, and
    its error falls slowly with N; with equal N for both the errors of p and of q nearly
    cancel where P is Q. Not negative but for noise.

    Args:
      key: of the samples.
      samples_from, p, q: logits (n, m), loc (n, m, z); p and q of equal N.

    Raises:
      ValueError: p and q differ in N.
    """
    if p.loc.shape[0] != q.loc.shape[0]:
        raise ValueError(
            "both densities need equally many posteriors, found "
            f"{p.loc.shape[0]} and {q.loc.shape[0]}"
        )
    z = distributions.sample(key, samples_from, 1)[0]
    return jnp.mean(set_log_density(z, p) - set_log_density(z, q))


class Moments(NamedTuple):
    """Mean (z,) and covariance (z, z), float64."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(z: Float[np.ndarray, "s z"]) -> Moments:
    """Mean and covariance (divided by s - 1) of points."""
    centred = np.asarray(z, np.float64)
    mean = centred.mean(axis=0)
    centred = centred - mean
    return Moments(mean, centred.T @ centred / (len(z) - 1))


def frechet(p: Moments, q: Moments) -> float:
    """Squared Fréchet distance of Gaussians: |m - n|^2 + tr(S + T - 2 (S T)^(1/2)) >= 0.

    Its square root is the 2-Wasserstein distance. In double precision: roots of
    small eigenvalues lose half of their digits, and with float32 the order of the points
    changed small distances by a sixth.
    """
    values, vectors = np.linalg.eigh(p.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # (S T)^(1/2) has the trace of (S^(1/2) T S^(1/2))^(1/2), which is symmetric.
    inner = np.linalg.eigvalsh(root @ q.covariance @ root)
    trace = np.trace(p.covariance) + np.trace(q.covariance)
    common = np.sqrt(np.maximum(inner, 0)).sum()
    return max(float(np.square(p.mean - q.mean).sum() + trace - 2 * common), 0.0)


def gaussian_kl(p: Moments, q: Moments) -> float:
    """KL(P||Q) of Gaussians in nats; both covariances must be regular."""
    difference = q.mean - p.mean
    spread = np.trace(np.linalg.solve(q.covariance, p.covariance))
    shift = difference @ np.linalg.solve(q.covariance, difference)
    (_, log_p), (_, log_q) = (np.linalg.slogdet(m.covariance) for m in (p, q))
    return float(0.5 * (spread + shift - len(difference) + log_q - log_p))


def mmd(x: Float[Array, "n p z"], y: Float[Array, "k p z"]) -> Float[Array, ""]:
    """Unbiased squared maximum mean discrepancy, kernel (x . y / z + 1)^3.

    That is the kernel of KID (Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401).
    Points of one image depend on each other, so pairs within an image are left out, not
    only pairs of a point with itself. Its mean is 0 for sets of independent images from
    one source; single values can be negative.

    Args:
      x, y: p points of each of n, and of k, images.
    """

    def sums(a: Array, b: Array) -> Array:
        product = jnp.einsum("ipz,jqz->ijpq", a, b, precision=_PRECISE)
        return jnp.mean((product / a.shape[-1] + 1) ** 3, axis=(2, 3))

    def within(a: Array) -> Array:
        of_images, count = sums(a, a), a.shape[0]
        others = jnp.sum(jnp.where(jnp.eye(count, dtype=bool), 0.0, of_images))
        return others / (count * (count - 1))

    return within(x) + within(y) - 2 * jnp.mean(sums(x, y))


@jax.custom_jvp
def _deviation(variance: Array) -> Array:
    """Root of a variance, which rounding may have made negative."""
    return jnp.sqrt(jnp.maximum(variance, 0.0))


@_deviation.defjvp
def _deviation_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple:
    # The slope at 0 is infinite; a large one still leads away from there.
    found = _deviation(*primals)
    slope = jnp.minimum(0.5 / jnp.maximum(found, 1e-30), _STEEPEST)
    return found, slope * tangents[0]


def _smooth(values: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Means with weights 1/4, 1/2, 1/4 along both axes, edges repeated."""
    for axis in (1, 2):
        size = values.shape[axis]
        padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(values, padding, mode="edge")
        before, here, after = (
            jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3)
        )
        values = (before + 2 * here + after) / 4
    return values


def wasserstein(
    a: Float[Array, "n h w c"],
    b: Float[Array, "n h w c"],
    sigma: float | Float[Array, ""],
) -> Float[Array, " n"]:
    """Local Wasserstein distortion: distances of means and deviations near each place.

    About every place the features of each image have a mean m and a standard deviation s
    over a neighbourhood of some `sigma` positions, and (m_a - m_b)^2 + (s_a - s_b)^2 is
    the squared Wasserstein distance of Gaussians with these. Neighbourhoods come in
    octaves: i = 0 is the position itself, so the squared error, each next one is smoothed
    and, after the first, decimated; between octaves both are mixed. Means over
    positions and features.

    Args:
      a, b: features; variances lose digits if means are far larger than deviations.
      sigma: 0 to 1: squared error; more: textures may be resampled within it. Limited to
        what the map holds, half its shorter side.

    Source: Qiu, Wagner, Ballé & Theis 2023, https://arxiv.org/abs/2310.03629, and Google's
    CoDeX. As there: filter, octaves, weights, capped slopes. Different: borders are
    repeated instead of filled with zeros, sigma is one number instead of a map, and
    features are averaged.
    """
    most = max(min(a.shape[1:3]).bit_length() - 1, 0)
    octave = jnp.clip(jnp.log2(jnp.maximum(sigma, 1.0)), 0.0, float(most))

    def mixed(part: Array, i: int) -> Array:
        weight = jnp.maximum(1 - jnp.abs(octave - i), 0.0)
        return weight * jnp.mean(part, axis=(1, 2, 3))

    total = mixed(jnp.square(a - b), 0)
    statistics = [jnp.concatenate([x, jnp.square(x)], axis=-1) for x in (a, b)]
    for i in range(1, most + 1):
        statistics = [_smooth(x) for x in statistics]
        (mean_a, square_a), (mean_b, square_b) = (
            jnp.split(x, 2, axis=-1) for x in statistics
        )
        deviation_a = _deviation(square_a - jnp.square(mean_a))
        deviation_b = _deviation(square_b - jnp.square(mean_b))
        part = jnp.square(mean_a - mean_b) + jnp.square(deviation_a - deviation_b)
        total += mixed(part, i)
        statistics = [x[:, ::2, ::2] for x in statistics]
    return total
