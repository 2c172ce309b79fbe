"""Roots, powers and quotients of metrics, with finite gradients and without lost digits."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

# A base in [-1, 1] that was computed in float32 is known no better than this.
ROUNDED = 1e-7


def zero_up_to(
    smallest: float,
    function: Callable[[Float[Array, "*b"]], Float[Array, "*b"]],
    values: Float[Array, "*b"],
) -> Float[Array, "*b"]:
    """`function` of the values above `smallest`; 0, with the gradient 0, of the others.

    NaN is passed to the function, as it is not at most `smallest`.

    Args:
      smallest: at least 0.
      function: of each value by itself; its slope may be infinite at 0.
      values: any.
    """
    none = values <= smallest
    # Chosen before the function as well: an infinite slope would become NaN in a product
    # with the 0 that `where` passes back.
    return jnp.where(none, 0.0, function(jnp.where(none, 1.0, values)))


def root(values: Float[Array, "*b"], smallest: float = 0.0) -> Float[Array, "*b"]:
    """Square root of max(values, 0), with the gradient 0 where that is 0; NaN of NaN.

    Args:
      values: any.
      smallest: values up to this one count as 0.
    """
    return zero_up_to(smallest, jnp.sqrt, values)


def magnitude(
    x: Float[Array, "*b"], y: Float[Array, "*b"], smallest: float = 0.0
) -> Float[Array, "*b"]:
    """Length of the vectors (x, y), with the gradient 0 where it is 0.

    Args:
      x, y: the two components.
      smallest: squared lengths up to this one count as 0.
    """
    return root(jnp.square(x) + jnp.square(y), smallest)


def power(base: Float[Array, "*b"], exponent: float) -> Float[Array, "*b"]:
    """|base| ** exponent, along a straight line where |base| is below ROUNDED.

    There the slope, infinite at 0 for exponents below 1, is held at ROUNDED **
    (exponent - 1). 0 remains 0.

    Args:
      base: of values around 1, so that differences below ROUNDED are rounding alone.
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


def similarity(
    a: Float[Array, "*b"], b: Float[Array, "*b"], constant: float
) -> Float[Array, "*b"]:
    """(2 a b + c) / (a^2 + b^2 + c): 1 where both are equal, at most 1 everywhere.

    Args:
      a, b: the values to compare; below 0 only if the result may be below 0.
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
