"""Quantisation for training, and bounds with gradients that find their way back.

Rounding has no gradient, so training replaces it by something that has one; what stands
in for it is a choice, and each is a function here. y are latents, u ~ U(-1/2, 1/2).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, Shaped

# Below this sharpness soft rounding is the identity to float32's precision.
_SMALLEST_ALPHA = 1e-3


def lower_bound(x: Float[Array, "*s"], bound: float) -> Float[Array, "*s"]:
    """max(x, bound); below the bound a gradient passes if descent would raise x.

    The gradient of a plain maximum is zero there, and what has once fallen below never
    comes back. Source: `identity_if_towards` of tensorflow-compression.
    """
    return _lower_bound(x, jnp.asarray(bound, x.dtype))


@jax.custom_vjp
def _lower_bound(x: Array, bound: Array) -> Array:
    return jnp.maximum(x, bound)


def _lower_bound_forward(x: Array, bound: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, bound), x >= bound


def _lower_bound_backward(inside: Array, gradient: Array) -> tuple[Array, None]:
    return jnp.where(inside | (gradient < 0), gradient, 0.0), None


_lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)


def aligned(
    x: Shaped[Array | np.ndarray, "*t"], like: Shaped[Array, "*s"]
) -> Shaped[Array | np.ndarray, "*u"]:
    """`x` with axes of length one in front, as many axes as `like`: one for each channel.

    Nothing here relies on ranks that promote themselves, which hide mistakes.
    """
    return jnp.reshape(x, (1,) * (like.ndim - x.ndim) + x.shape)


def upper_bound(x: Float[Array, "*s"], bound: float) -> Float[Array, "*s"]:
    """min(x, bound); above the bound a gradient passes if descent would lower x."""
    return -lower_bound(-x, -bound)


def eight_bits(images: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Images in [0, 1] as the integers 0..255 that a file holds, clipped; still floats."""
    return jnp.round(255 * jnp.clip(images, 0, 1))


def uniform_noise(
    keys: Key[Array, " n"], like: Float[Array, "n *s"]
) -> Float[Array, "n *s"]:
    """Noise u ~ U(-1/2, 1/2) in the shape of `like`; one key for each image, (n,)."""
    return jax.vmap(
        lambda key: jax.random.uniform(key, like.shape[1:], like.dtype, -0.5, 0.5)
    )(keys)


def round_straight_through(y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """round(y) with the gradient of y (Theis et al. 2017)."""
    return y + jax.lax.stop_gradient(jnp.round(y) - y)


def soft_round(
    y: Float[Array, "*s"], alpha: Float[Array, ""] | float
) -> Float[Array, "*s"]:
    """s_alpha(y): between the identity (alpha -> 0) and rounding (alpha -> infinity).

    Strictly increasing; integers and half integers stay where they are.

    Source: Agustsson & Theis 2020, https://arxiv.org/abs/2006.09952, equation 13.
    """
    return _guarded(_soft_round, y, alpha)


def soft_round_inverse(
    z: Float[Array, "*s"], alpha: Float[Array, ""] | float
) -> Float[Array, "*s"]:
    """The y with s_alpha(y) = z."""
    return _guarded(_soft_round_inverse, z, alpha)


def soft_round_conditional_mean(
    z: Float[Array, "*s"], alpha: Float[Array, ""] | float
) -> Float[Array, "*s"]:
    """r_alpha(z) = E[y | s_alpha(y) + u = z], where the density of y is flat.

    Source: as `soft_round`, section 4.2.
    """
    return soft_round_inverse(z - 0.5, alpha) + 0.5


def _guarded(
    function: Callable[[Array, Array], Array], x: Array, alpha: Array | float
) -> Array:
    """`function`, or the identity for alpha near 0, where its own gradient is NaN."""
    sharp = jnp.maximum(alpha, _SMALLEST_ALPHA)
    return jnp.where(
        jnp.asarray(alpha) < _SMALLEST_ALPHA, x, function(x, jnp.asarray(sharp))
    )


def _soft_round(y: Array, alpha: Array) -> Array:
    middle = jax.lax.stop_gradient(jnp.floor(y)) + 0.5
    return middle + jnp.tanh(alpha * (y - middle)) / (2 * jnp.tanh(alpha / 2))


def _soft_round_inverse(z: Array, alpha: Array) -> Array:
    floor = jax.lax.stop_gradient(jnp.floor(z))
    above = z - floor
    from_middle = above - 0.5
    # At the middle, where both sides meet, each passes half of the gradient.
    up = _bent(jnp.maximum(from_middle, 0), 1 - above, alpha)
    down = _bent(jnp.maximum(-from_middle, 0), above, alpha)
    return floor + 0.5 + (up - down)


def _bent(r: Array, left: Array, alpha: Array) -> Array:
    """atanh(2 r tanh(alpha / 2)) / alpha, 0 <= r <= 1/2, with left = 1/2 - r where r > 0.

    In a form whose precision does not suffer at either end. So close to an integer that
    float32 hardly tells them apart, it is 1/2, and the slope, up to e^alpha, is not used.
    """
    slope = jnp.tanh(alpha / 2)
    room = jax.nn.sigmoid(-alpha) + left * slope
    edge = jnp.finfo(r.dtype).epsneg
    bent = jnp.log1p(2 * r * slope / jnp.maximum(room, edge)) / (2 * alpha)
    return jnp.where(room < edge, 0.5, bent)


def with_expected_gradient(
    function: Callable[..., Array],
    y: Float[Array, "*s"],
    u: Float[Array, "*s"],
    *rest: Any,
) -> Float[Array, "*s"]:
    """function(y + u, *rest), with the gradient with respect to y averaged over u.

    The derivative of E_u[f(y + u)] is f(y + 1/2) - f(y - 1/2): no noise, and none of the
    slopes of f. All other gradients are the ordinary ones.

    Args:
      function: works elementwise on its first argument.
      y: latents.
      u: uniform noise in (-1/2, 1/2).
      rest: passed on.

    Source: Ballé et al. 2021, https://arxiv.org/abs/2007.03034; CoDeX and
      tensorflow-compression call it `perturb_and_apply`.
    """
    fixed = jax.lax.stop_gradient
    slope = fixed(function(y + 0.5, *rest) - function(y - 0.5, *rest))
    return function(fixed(y) + u, *rest) + slope * (y - fixed(y))


def dither_offsets(levels: int) -> Float[np.ndarray, " l"]:
    """Offsets in (-1/2, 1/2), equally far apart. No levels: a single offset of zero.

    So few that there can be probability tables for each.
    """
    if not levels:
        return np.zeros(1, np.float32)
    return np.asarray((np.arange(levels) + 1) / (levels + 1) - 0.5, np.float32)


def dither_levels(shape: tuple[int, ...], levels: int) -> Int32[Array, "*s"]:
    """Positions in `dither_offsets` that sender and receiver draw alike, one per latent.

    Threefry is defined bit by bit, and the same everywhere.
    """
    key = jax.random.key(1234, impl="threefry2x32")
    return jax.random.randint(key, shape, 0, max(levels, 1), jnp.int32)


def dither(shape: tuple[int, ...], levels: int = 15) -> Float[Array, "*s"]:
    """The offset o of each latent for universal quantisation, round(y - o) + o.

    Its error is uniform, whatever y (Ziv 1985).
    """
    return jnp.asarray(dither_offsets(levels))[dither_levels(shape, levels)]


def round_with_dither(
    y: Float[Array, "*s"], offsets: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """round(y - o) + o, with the gradient of y."""
    return round_straight_through(y - offsets) + offsets
