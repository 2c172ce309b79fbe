"""Differences of distribution functions, as logarithms that stay finite in the tails."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The smallest difference that is told from zero: 2^-149 is float32's smallest number.
_LEAST = 1e-30
# Where the continued fraction takes over, and how many of its terms: there to 1e-7.
_FAR, _DEPTH = 4.0, 8
_LOG_SQRT_2_PI = np.float32(0.5 * np.log(2 * np.pi))


def log_difference(
    log_larger: Float[Array, "*s"], log_smaller: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """log(a - b) from log a and log b, for a >= b; about log(a 1e-30) where a = b."""
    return log_larger + _log_rest(log_larger - log_smaller)


def _log_rest(gap: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Of gap >= 0 log(1 - e^-gap): two forms, each precise where it is used."""
    gap = jnp.maximum(gap, _LEAST)
    near = jnp.log(-jnp.expm1(-jnp.minimum(gap, 1.0)))
    far = jnp.log1p(-jnp.exp(-jnp.maximum(gap, 1.0)))
    return jnp.where(gap < 1.0, near, far)


def log_logistic_mass(
    lower: Float[Array, "*s"], upper: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """log(sigmoid(upper) - sigmoid(lower)), for lower <= upper.

    As sigmoid(upper) sigmoid(-lower) (1 - e^(lower - upper)): no difference of logarithms.
    """
    outside = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower)
    return outside + _log_rest(upper - lower)


def log_normal_mass(
    v: Float[Array, "*s"], scale: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """In nats: log P(v - 1/2 < X < v + 1/2) for X ~ N(0, scale^2)."""
    v = -jnp.abs(v)
    return log_difference(log_ndtr((v + 0.5) / scale), log_ndtr((v - 0.5) / scale))


@jax.custom_jvp
def log_ndtr(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Of N(0, 1), the log of P(X < x), with a gradient that is right in the lower tail.

    JAX's own takes the density over the probability as the exponential of a difference of
    logarithms, which far out are so large that float32 has no digits left for it.
    """
    return jax.scipy.special.log_ndtr(x)


@log_ndtr.defjvp
def _log_ndtr_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    value = log_ndtr(x)
    near = jnp.maximum(x, -_FAR)
    slope = jnp.exp(-near * near / 2 - _LOG_SQRT_2_PI - log_ndtr(near))
    # Laplace's continued fraction of the same.
    t = jnp.maximum(-x, _FAR)
    fraction = t
    for k in range(_DEPTH, 0, -1):
        fraction = t + k / fraction
    return value, jnp.where(x > -_FAR, slope, fraction) * dx
