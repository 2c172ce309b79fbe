"""Differences of distribution functions, as logarithms that stay finite in the tails."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The smallest difference that is told from zero: 2^-149 is float32's smallest number.
_LEAST = 1e-30


def log_difference(
    log_larger: Float[Array, "*s"], log_smaller: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """log(a - b) from log a and log b, for a >= b; about log(a 1e-30) where a = b."""
    gap = jnp.maximum(log_larger - log_smaller, _LEAST)
    # log(1 - e^-gap): two forms, each precise where it is used.
    near = jnp.log(-jnp.expm1(-jnp.minimum(gap, 1.0)))
    far = jnp.log1p(-jnp.exp(-jnp.maximum(gap, 1.0)))
    return log_larger + jnp.where(gap < 1.0, near, far)


def log_logistic_mass(
    lower: Float[Array, "*s"], upper: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """log(sigmoid(upper) - sigmoid(lower)), for lower < upper."""
    # In the lower tail both are precise; the upper tail is its mirror image.
    mirrored = lower + upper > 0
    low = jnp.where(mirrored, -upper, lower)
    high = jnp.where(mirrored, -lower, upper)
    return log_difference(jax.nn.log_sigmoid(high), jax.nn.log_sigmoid(low))


def log_normal_mass(
    v: Float[Array, "*s"], scale: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """In nats: log P(v - 1/2 < X < v + 1/2) for X ~ N(0, scale^2)."""
    v = -jnp.abs(v)
    upper = jax.scipy.special.log_ndtr((v + 0.5) / scale)
    lower = jax.scipy.special.log_ndtr((v - 0.5) / scale)
    return log_difference(upper, lower)
