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
    return loc + jax.random.normal(key_noise, loc.shape)


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


def symmetrised_kl(
    p: Mixture, q: Mixture, noise: Float[Array, "*#b z"]
) -> Float[Array, " *b"]:
    """KL(p||q) + KL(q||p) in nats: >= 0, 0 for p = q, symmetric, differentiable.

    With the log-ratio D(z) = log p(z) - log q(z) and r = (p + q) / 2,

        KL(p||q) + KL(q||p) = integral (p - q) D dz = E_r[2 D tanh(D / 2)]
                            = E_p[D tanh(D / 2)] + E_q[D tanh(D / 2)],

    since (p - q) / (p + q) = tanh(D / 2). The integrand on the right is never negative,
    whatever the samples. The expectation over components is exact: the noise is shifted
    to the mean of each and weighted by its probability, so gradients reach the weights.
    The expectation over the noise is one point per position, which both sides share. For
    standard normal noise the estimate is unbiased.

    Args:
      p, q: mixtures with the same shapes.
      noise: a point for each position, in units of the standard deviation; its leading
        axes broadcast.
    """
    if p.loc.shape[-2] == 1:
        # Equal identity covariances: the closed form.
        return jnp.sum(jnp.square(p.loc - q.loc)[..., 0, :], axis=-1)
    # One product of points and components, (..., 2m, 2m): compiled for a CPU, this is
    # faster than one sum per mixture.
    # (An axis of several points here is computed wrongly by jit on the CPU with JAX
    # 0.10.2, so several points are several positions; a test holds on to it.)
    m = p.logits.shape[-1]
    loc = jnp.concatenate([p.loc, q.loc], axis=-2)
    log_weights = jnp.concatenate(
        [jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)], axis=-1
    )
    points = loc + noise[..., None, :]
    # The constant of the Gaussian density leaves the ratio.
    log_terms = log_weights[..., None, :] - 0.5 * _pairwise_squared(points, loc)
    log_p = jax.nn.logsumexp(log_terms[..., :m], axis=-1)
    log_q = jax.nn.logsumexp(log_terms[..., m:], axis=-1)
    ratio = log_p - log_q  # D at the points of p, then at those of q
    expected = jnp.exp(log_weights) * ratio * jnp.tanh(0.5 * ratio)
    # Two sums, so that exchanging p and q gives the same bits.
    return jnp.sum(expected[..., :m], -1) + jnp.sum(expected[..., m:], -1)


def _pairwise_squared(
    a: Float[Array, "*b m z"], b: Float[Array, "*b k z"]
) -> Float[Array, "*b m k"]:
    return jnp.sum(jnp.square(a[..., :, None, :] - b[..., None, :, :]), axis=-1)


def _lead(x: Array, ndim: int) -> Array:
    """Adds leading axes of size one, up to `ndim` axes."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
