"""Values that are held within bounds without their gradients being lost."""

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


@jax.custom_jvp
def unit_range(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Clips to [0, 1]; outside, a gradient passes if descent would bring x back.

    The gradient of a plain clip is zero there, and what has once left the range never
    comes back; one that passes always drives x further out as well. NaN gives 0, so that
    nothing behind this has to be prepared for it: see `holds_nan`.

    As `codec_jax.ops.lower_bound`, but forward mode works too, where a tangent passes.
    """
    return jnp.where(x > 0, jnp.minimum(x, 1.0), 0.0)


@unit_range.defjvp
def _unit_range_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return unit_range(x), _towards_range.bind(tangent, x)


@jax.custom_jvp
def unit_range_or_nan(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """As `unit_range`, but NaN remains NaN."""
    return jnp.minimum(jnp.maximum(x, 0.0), 1.0)


@unit_range_or_nan.defjvp
def _unit_range_or_nan_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return unit_range_or_nan(x), _towards_range.bind(tangent, x)


def holds_nan(*images: Float[Array, "n *s"]) -> Float[Array, " n"]:
    """NaN where any of the images has one, else 1: a factor for distances.

    As a factor it makes the gradient NaN as well. (A sum of `0 * image` would do the same
    but for infinite values.)
    """
    axes = tuple(range(1, images[0].ndim))
    bad = [jnp.any(jnp.isnan(image), axis=axes) for image in images]
    some = functools.reduce(jnp.logical_or, bad)
    return jnp.where(some, jnp.float32(jnp.nan), jnp.float32(1.0))


def at_least_zero(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """max(x, 0) of what is below 0 by rounding alone: the gradient passes everywhere.

    NaN remains NaN.
    """
    return x - jax.lax.stop_gradient(jnp.minimum(x, 0.0))


def zero_where_equal(
    distance: Float[Array, " n"],
    image_a: Float[Array, "n *s"],
    image_b: Float[Array, "n *s"],
) -> Float[Array, " n"]:
    """The distances, exactly 0 between identical images, with their gradients.

    For networks, which see both images in one batch: the products of its two halves may
    be summed in another order.
    """
    same = jnp.all(image_a == image_b, axis=tuple(range(1, image_a.ndim)))
    return distance - jax.lax.stop_gradient(jnp.where(same, distance, 0.0))


# What `unit_range` does to gradients depends on their sign, so it is no transposed linear
# map. `custom_vjp` can say that, but rules forward mode out. As a primitive of two
# arguments, the tangent and x, it is the identity of the first in forward mode.
_towards_range = Primitive("towards_range")


def _transpose(gradient: Any, tangent: Any, x: Array) -> list[Any]:
    del tangent
    if type(gradient) is ad.Zero:
        return [gradient, None]
    # What does not compare, NaN, passes.
    away = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))
    return [jnp.where(away, 0.0, gradient), None]


_towards_range.def_impl(lambda tangent, x: tangent)
_towards_range.def_abstract_eval(lambda tangent, x: tangent)
mlir.register_lowering(_towards_range, lambda context, tangent, x: [tangent])
ad.defjvp(_towards_range, lambda moved, tangent, x: _towards_range.bind(moved, x), None)
ad.primitive_transposes[_towards_range] = _transpose
batching.defbroadcasting(_towards_range)


def _register_with_shard_map() -> None:
    """Up to JAX 0.6 it has rules of its own, by which arrays are alike on all devices."""
    module: Any = importlib.import_module("jax.experimental.shard_map")
    if hasattr(module, "register_standard_check"):
        module.register_standard_check(_towards_range)
        module.register_standard_rewrite(_towards_range)


_register_with_shard_map()
