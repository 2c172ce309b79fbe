"""The quotient by which many metrics compare two values at every pixel."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def similarity(
    a: Float[Array, "*b"], b: Float[Array, "*b"], constant: float
) -> Float[Array, "*b"]:
    """(2 a b + c) / (a^2 + b^2 + c): 1 where both are equal, at most 1 everywhere.

    Args:
      a, b: what is compared; below 0 only if the result may be below 0.
      constant: c > 0, in squared units of a; differences well below its root are ignored.
    """
    return (2 * a * b + constant) / (jnp.square(a) + jnp.square(b) + constant)


def dissimilarity(
    a: Float[Array, "*b"],
    b: Float[Array, "*b"],
    constant: float,
    masking: float = 0.0,
) -> Float[Array, "*b"]:
    """1 - similarity without rounding: (a - b)^2 / (a^2 + b^2 - m a b + c).

    Args:
      a, b, constant: as for `similarity`.
      masking: m in [0, 2): how much more a difference counts between large values.
    """
    product = masking * a * b if masking else 0.0
    return jnp.square(a - b) / (jnp.square(a) + jnp.square(b) - product + constant)


def either(a: Float[Array, "*b"], b: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """1 - (1 - a) (1 - b): of two dissimilarities, that of the product of similarities."""
    return a + b - a * b
