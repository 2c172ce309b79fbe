"""IXYZ, the lower bound on multivariate mutual information that PIM is trained with.

X and Y are two images that share what matters (here: two frames close in time), Z a
representation drawn from p(z|x,y). The information that all three share is

    I(X;Y;Z) = E[log p(z|x) + log p(z|y) - log p(z) - log p(z|x,y)].

Replacing p(z|x) and p(z|y) by one learned q, and p(z) by the mixture over the minibatch
p_hat(z) = (1/K) sum_k p(z|x_k,y_k), own pair included, keeps a lower bound in
expectation (Fischer, "Bounding the multivariate mutual information", 2019; Bhardwaj et
al. 2020, https://arxiv.org/abs/2006.06752). Training maximises it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pim_jax.distributions import Mixture, gaussian_constant, log_prob

REDUCTIONS = ("mean", "per_location", "sum")


class Ixyz(NamedTuple):
    """The bound and its four terms, each of shape (n,), in nats."""

    bound: Float[Array, " n"]
    log_q_x: Float[Array, " n"]  # log q(z|x)
    log_q_y: Float[Array, " n"]  # log q(z|y)
    log_marginal: Float[Array, " n"]  # log p_hat(z)
    log_joint: Float[Array, " n"]  # log p(z|x,y)


def ixyz(
    joint_loc: Float[Array, "n p z"],
    marginal_x: Mixture,
    marginal_y: Mixture,
    noise: Float[Array, "n p z"],
    weights: Float[Array, " p"],
    reduction: str = "mean",
    temperature: float = 1.0,
    axis_name: str | None = None,
) -> Ixyz:
    """IXYZ per pair, with z = joint_loc + noise.

    The second axis holds the positions of all pyramid levels. The reduction says how
    log-densities at positions become one number, before the logsumexp over the
    minibatch:

      mean: their weighted mean. With the weights of `model.position_weights` every level
        counts the same (the published `log_prob`). p_hat contrasts whole images.
      per_location: the logsumexp is taken at each position, and the weighted mean after
        it. p_hat contrasts positions.
      sum: their sum, the log-density of the whole pyramid, and the only choice for which
        the bound is one in nats. With some 10^5 dimensions the contrast saturates at
        log K at once unless the temperature is high.

    With temperature T the marginal is T log((1/K) sum_k p(z|x_k,y_k)^(1/T)): a soft
    maximum, not a density unless T = 1. Computation is float32.

    Args:
      joint_loc: means of p(z|x,y), which has identity covariance.
      marginal_x, marginal_y: q(z|x) and q(z|y), logits (n, p, m) and loc (n, p, m, z).
      noise: standard normal samples.
      weights: of the positions, summing to one.
      reduction: 'mean', 'per_location' or 'sum'.
      temperature: T > 0.
      axis_name: the pmap axis over which the minibatch is split; p_hat runs over the
        minibatches of all devices. None where the arrays hold the whole minibatch.
    Raises: ValueError for an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, found {reduction!r}")
    if reduction == "sum":
        weights = jnp.ones_like(weights)

    def reduce(log_density: Float[Array, "*b p"]) -> Float[Array, " *b"]:
        # Not by the default precision of matrix products, which accelerators lower.
        return jnp.dot(log_density, weights, precision=jax.lax.Precision.HIGHEST)

    z = joint_loc + noise
    log_q_x, log_q_y = (reduce(log_prob(q, z)) for q in (marginal_x, marginal_y))
    constant = gaussian_constant(z.shape[-1]) * jnp.sum(weights)
    log_joint = constant - 0.5 * reduce(_squared_norm(noise))

    everyone = joint_loc
    if axis_name is not None:
        everyone = jax.lax.all_gather(joint_loc, axis_name, tiled=True)
    # log p(z_i|x_k,y_k) without its constant, for every k of the global minibatch.
    if reduction == "per_location":
        at_positions = _soft_maximum(_per_location(z, everyone), temperature)
        log_marginal = constant + reduce(at_positions)
    else:
        log_ratio = _over_positions(z, everyone, weights)
        log_marginal = constant + _soft_maximum(log_ratio, temperature)
    bound = log_q_x + log_q_y - log_marginal - log_joint
    return Ixyz(bound, log_q_x, log_q_y, log_marginal, log_joint)


def _soft_maximum(log_ratio: Float[Array, "n k *p"], temperature: float) -> Array:
    """T log mean_k exp(log_ratio / T)."""
    count = log_ratio.shape[1]
    summed = jax.nn.logsumexp(log_ratio / temperature, axis=1)
    return temperature * (summed - jnp.log(count))


def _over_positions(
    z: Float[Array, "n p z"], loc: Float[Array, "k p z"], weights: Float[Array, " p"]
) -> Float[Array, "n k"]:
    """The weighted sum over positions of -|z_i - loc_k|^2 / 2, as a matrix product."""
    # Distances do not change with the origin; the mean as origin keeps the terms small,
    # so that little is lost where they cancel.
    centre = jnp.mean(loc, axis=0, keepdims=True)
    scale = jnp.sqrt(weights)[None, :, None]
    z, loc = (((a - centre) * scale).reshape(a.shape[0], -1) for a in (z, loc))
    product = jnp.matmul(z, loc.T, precision=jax.lax.Precision.HIGHEST)
    return product - 0.5 * (_squared_norm(z)[:, None] + _squared_norm(loc)[None, :])


def _per_location(
    z: Float[Array, "n p z"], loc: Float[Array, "k p z"]
) -> Float[Array, "n k p"]:
    """-|z_i - loc_k|^2 / 2 at every position."""
    product = jnp.einsum("ipz,kpz->ikp", z, loc, precision=jax.lax.Precision.HIGHEST)
    return product - 0.5 * (_squared_norm(z)[:, None] + _squared_norm(loc)[None, :])


def _squared_norm(x: Array) -> Array:
    return jnp.sum(jnp.square(x), axis=-1)
