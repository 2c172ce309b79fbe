"""Order statistics."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def lower_median(values: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """The median of values >= 0 along the last axis; of an even number, the lower one.

    Its gradient goes to one of the values that are equal to it.

    Sorting is slow on CPUs, and half of a sort is not needed: the bits of floats that are
    not negative are ordered as they are, so 31 counts find the median bit by bit.

    Args:
      values: float32, none below 0, none NaN.
    """
    fixed = jax.lax.stop_gradient(values)
    bits = jax.lax.bitcast_convert_type(fixed, jnp.int32)
    rank = (values.shape[-1] - 1) // 2  # as many values are below it, or equal

    def settle(step: Array, known: Array) -> Array:
        tried = known | (jnp.int32(1) << (30 - step).astype(jnp.int32))
        below = jnp.sum(bits < tried[..., None], axis=-1, dtype=jnp.int32)
        return jnp.where(below <= rank, tried, known)

    # Zeros, but spread over devices as the values are, which loops in shard_map ask for.
    found = jax.lax.fori_loop(0, 31, settle, bits[..., 0] & 0)
    place = jnp.argmax(bits == found[..., None], axis=-1)
    return jnp.take_along_axis(values, place[..., None], axis=-1)[..., 0]
