"""Roots and powers whose gradients are finite where the exact ones are not."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# A base in [-1, 1] that was computed in float32 is known no better than this.
ROUNDED = 1e-7


def root(values: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Square root of max(values, 0), with the gradient 0 where that is 0."""
    positive = values > 0
    # Chosen before the root as well: its gradient at 0 would be infinite, and NaN after
    # a product with 0.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)


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
    above = size >= ROUNDED
    # Exp and log, for XLA's own power calls the C library for every single value on CPUs.
    exact = jnp.exp(exponent * jnp.log(jnp.where(above, size, 1.0)))
    return jnp.where(above, exact, ROUNDED ** (exponent - 1) * size)
