"""Mixtures of Gaussians with identity covariance, one at every position of a map.

Everything here is per position: reductions over space and over pyramid levels belong to
the metric and to the objective.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


class Mixture(NamedTuple):
    """Mixture of m Gaussians with identity covariance; m = 1 is a Gaussian.

    Attributes:
      logits: unnormalised log weights, shape (..., m).
      loc: means of the components, shape (..., m, z).
    """

    logits: Float[Array, "*b m"]
    loc: Float[Array, "*b m z"]


def log_prob(q: Mixture, z: Float[Array, "*s z"]) -> Float[Array, " *s"]:
    """Log-density of q at z, in nats. Leading axes broadcast (samples come first)."""
    squared = jnp.sum(
        jnp.square(jnp.expand_dims(z, -2) - _lead(q.loc, z.ndim + 1)), axis=-1
    )
    if q.logits.shape[-1] == 1:
        return gaussian_constant(z.shape[-1]) - 0.5 * squared[..., 0]
    log_weights = _lead(jax.nn.log_softmax(q.logits), z.ndim)
    mixed = jax.nn.logsumexp(log_weights - 0.5 * squared, axis=-1)
    return mixed + gaussian_constant(z.shape[-1])


def gaussian_constant(dimensions: int) -> float:
    """Log-density of a standard Gaussian at its mean: -(dimensions / 2) log 2 pi."""
    return float(-0.5 * dimensions * np.log(2 * np.pi))


def sample(key: PRNGKeyArray, q: Mixture, samples: int) -> Float[Array, "s *b z"]:
    """Draws `samples` values of q. Not differentiable through the choice of component."""
    key_component, key_noise = jax.random.split(key)
    shape = (samples, *q.logits.shape[:-1])
    component = jax.random.categorical(key_component, q.logits, shape=shape)
    loc = jnp.take_along_axis(
        _lead(q.loc, q.loc.ndim + 1), component[..., None, None], axis=-2
    )[..., 0, :]
    return loc + jax.random.normal(key_noise, loc.shape, loc.dtype)


def sampled_symmetrised_kl(
    key: PRNGKeyArray, p: Mixture, q: Mixture, samples: int
) -> Float[Array, " *b"]:
    """KL(p||q) + KL(q||p) in nats, each the mean of a log-ratio over its own samples.

    Unbiased, but noisy; it can be negative, and d(p, q) != d(q, p). This is the
    estimate of the published code, whose default is one sample.
    """
    key_p, key_q = jax.random.split(key)
    z_p, z_q = sample(key_p, p, samples), sample(key_q, q, samples)
    return jnp.mean(log_prob(p, z_p) - log_prob(q, z_p), axis=0) + jnp.mean(
        log_prob(q, z_q) - log_prob(p, z_q), axis=0
    )


class SymmetrisedKl(NamedTuple):
    """Two estimates of KL(p||q) + KL(q||p), each of shape (...), in nats.

    Attributes:
      difference: the more precise of the two, by far; it can be negative.
      non_negative: never negative, whatever the noise.
    """

    difference: Float[Array, " *b"]
    non_negative: Float[Array, " *b"]


def symmetrised_kl(
    p: Mixture, q: Mixture, noise: Float[Array, "*#b z"]
) -> SymmetrisedKl:
    """KL(p||q) + KL(q||p) in nats, twice: symmetric, differentiable, 0 for p = q.

    With the log-ratio D(z) = log p(z) - log q(z) and r = (p + q) / 2,

        KL(p||q) + KL(q||p) = E_p[D] - E_q[D]
                            = integral (p - q) D dz = E_r[2 D tanh(D / 2)]
                            = E_p[D tanh(D / 2)] + E_q[D tanh(D / 2)],

    since (p - q) / (p + q) = tanh(D / 2). The integrand on the last line is never
    negative. The first line, with the same noise on both sides, has a variance that is
    smaller by two to four orders: where D is linear in the noise, as between Gaussians,
    it is exact. But for p close to q it subtracts numbers that are nearly equal.

    The expectation over components is exact: the noise is shifted to the mean of each
    and weighted by its probability, so gradients reach the weights. The expectation over
    the noise is one point and its opposite per position, which both sides share. For
    standard normal noise both estimates are unbiased.

    Args:
      p, q: mixtures with the same shapes.
      noise: a point for each position, in units of the standard deviation; its leading
        axes broadcast.
    """
    if p.loc.shape[-2] == 1:
        # Equal identity covariances: the closed form.
        exact = jnp.sum(jnp.square(p.loc - q.loc)[..., 0, :], axis=-1)
        return SymmetrisedKl(exact, exact)
    # One table of points and components, (..., 2m, 2m): compiled for a CPU, this is
    # faster than one sum per mixture, and unrolled sums have gradients that take minutes
    # to compile. (An axis of several points here is computed wrongly by jit on the CPU
    # with JAX 0.10.2, so several points are several positions; a test holds on to it.)
    m = p.logits.shape[-1]
    # Distances do not change with the origin, and rounding is least with this one.
    total = jnp.sum(p.loc, -2, keepdims=True) + jnp.sum(q.loc, -2, keepdims=True)
    loc = jnp.concatenate([p.loc, q.loc], axis=-2) - total / (2 * m)
    log_weights = jnp.concatenate(
        [jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)], axis=-1
    )
    # The log-density of component j at the point `loc_i + noise`, up to terms without j,
    # which leave the ratio: -|loc_i + noise - loc_j|^2 / 2 = ... + noise . loc_j.
    at_means = log_weights[..., None, :] - 0.5 * _pairwise_squared(loc, loc)
    shift = jnp.sum(loc * noise[..., None, :], axis=-1)[..., None, :]

    def log_ratio(log_terms: Array) -> Array:
        of_p = jax.nn.logsumexp(log_terms[..., :m], axis=-1)
        return of_p - jax.nn.logsumexp(log_terms[..., m:], axis=-1)

    # D at the points of p, then at those of q; on both sides of their means.
    there, back = log_ratio(at_means + shift), log_ratio(at_means - shift)
    probability = 0.5 * jnp.exp(log_weights)
    signed = probability * (there + back)
    even = probability * (there * jnp.tanh(0.5 * there) + back * jnp.tanh(0.5 * back))
    # Sums of p and q apart, so that exchanging them gives the same bits.
    return SymmetrisedKl(
        jnp.sum(signed[..., :m], axis=-1) - jnp.sum(signed[..., m:], axis=-1),
        jnp.sum(even[..., :m], axis=-1) + jnp.sum(even[..., m:], axis=-1),
    )


def _pairwise_squared(
    a: Float[Array, "*b m z"], b: Float[Array, "*b k z"]
) -> Float[Array, "*b m k"]:
    return jnp.sum(jnp.square(a[..., :, None, :] - b[..., None, :, :]), axis=-1)


def _lead(x: Array, ndim: int) -> Array:
    """Adds leading axes of size one, up to `ndim` axes."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
