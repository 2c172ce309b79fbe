"""Roots and powers whose gradients are finite where the exact ones are not."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# A base in [-1, 1] that was computed in float32 is known no better than this.
ROUNDED = 1e-7


def root(values: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Square root of max(values, 0), with the gradient 0 where that is 0; NaN of NaN."""
    none = values <= 0
    # Chosen before the root as well: its gradient at 0 would be infinite, and NaN after
    # a product with 0.
    return jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, values)))


def magnitude(x: Float[Array, "*b"], y: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Length of the vectors (x, y), with the gradient 0 where it is 0."""
    return root(jnp.square(x) + jnp.square(y))


def power(base: Float[Array, "*b"], exponent: float) -> Float[Array, "*b"]:
    """|base| ** exponent, along a straight line where |base| is below ROUNDED.

    There the slope, infinite at 0 for exponents below 1, is held at ROUNDED **
    (exponent - 1). 0 remains 0.

    Args:
      base: of values around 1, so that below ROUNDED there is but rounding.
      exponent: above 0.
    """
    size = jnp.abs(base)
    rounded = size < ROUNDED
    # Exp and log, for XLA's own power calls the C library for every single value on CPUs.
    exact = jnp.exp(exponent * jnp.log(jnp.where(rounded, 1.0, size)))
    return jnp.where(rounded, ROUNDED ** (exponent - 1) * size, exact)


def power_loss(loss: Float[Array, "*b"], exponent: float) -> Float[Array, "*b"]:
    """1 - power(1 - loss, exponent), without rounding where the loss is small.

    Args:
      loss: at least 0; 0 remains 0.
      exponent: as for `power`.
    """
    size = jnp.abs(1 - loss)
    rounded = size < ROUNDED
    # The size minus one: 1 - loss turns its sign where the loss is above 1.
    offset = jnp.where(loss > 1, loss - 2, -loss)
    exact = -jnp.expm1(exponent * jnp.log1p(jnp.where(rounded, 0.0, offset)))
    return jnp.where(rounded, 1 - ROUNDED ** (exponent - 1) * size, exact)
