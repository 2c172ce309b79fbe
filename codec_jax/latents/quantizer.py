"""Rounding, and what replaces it in training."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from codec_jax import ops

Quantization = Literal["noise", "mixed", "straight_through", "soft_round"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """Turns latents into what the rate sees, and what the synthesis sees.

    Attributes:
      keys: (n,) for the noise of training; None rounds.
      quantization: what replaces rounding. 'noise': both rate and synthesis see y + u.
        'mixed': the rate sees y + u, the synthesis round(y) with the gradient of y
        (Minnen & Singh 2020, https://arxiv.org/abs/2007.08739). 'straight_through': both
        see round(y) with the gradient of y; it needs no keys. 'soft_round': both see
        r(s(y) + u), see `ops.soft_round`.
      alpha: sharpness of soft rounding.
      expected_gradient: take the gradient of the rate with respect to the latents in
        expectation over the noise, see `ops.with_expected_gradient`. With 'noise' or
        'mixed'.

    Raises:
      ValueError: an unknown quantization, or one that has no such expectation.
    """

    keys: Key[Array, " n"] | None = None
    quantization: Quantization = "mixed"
    alpha: Float[Array, ""] | float = 1.0
    expected_gradient: bool = False

    def __post_init__(self) -> None:
        check_quantization(self.quantization, self.expected_gradient)

    def split(self) -> tuple["Quantizer", "Quantizer"]:
        """One for latents and one for hyper latents, with noise of their own.

        The hyper latents' is 'mixed' whatever the latents' is, since a hyper-synthesis
        reads integers.
        """
        if self.keys is None:
            return self, self
        keys_y, keys_z = jnp.moveaxis(jax.vmap(jax.random.split)(self.keys), 1, 0)
        return (
            dataclasses.replace(self, keys=keys_y),
            dataclasses.replace(self, keys=keys_z, quantization="mixed"),
        )

    def __call__(
        self, y: Float[Array, "n *s"], dither: int = 0
    ) -> tuple[Float[Array, "n *s"], Float[Array, "n *s"]]:
        """What the rate, and what the synthesis sees.

        Args:
          y: latents.
          dither: levels of universal quantisation, where latents are rounded; 0: none.
        """
        if self.quantization == "straight_through":
            whole = rounded(y, dither) if dither else ops.round_straight_through(y)
            return whole, whole
        if self.keys is None:
            whole = rounded(y, dither)
            return whole, whole
        u = ops.uniform_noise(self.keys, y)
        if self.quantization == "noise":
            return y + u, y + u
        if self.quantization == "mixed":
            return y + u, ops.round_straight_through(y)
        softened = ops.soft_round_conditional_mean(
            ops.soft_round(y, self.alpha) + u, self.alpha
        )
        return softened, softened

    def bits(
        self,
        log2: Callable[..., Float[Array, "n h w c"]],
        y: Float[Array, "n h w c"],
        noisy: Float[Array, "n h w c"],
        *rest: Array,
    ) -> Float[Array, " n"]:
        """Bits of what the rate sees.

        Args:
          log2: (y, *rest) -> log2 of the probability of each latent.
          y: latents before they were quantised.
          noisy: what the rate sees of them.
          rest: further arguments of `log2`.
        """
        if self.expected_gradient and self.keys is not None:
            noise = jax.lax.stop_gradient(noisy - y)
            return summed(ops.with_expected_gradient(log2, y, noise, *rest))
        return summed(log2(noisy, *rest))


def summed(log2: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Bits of each image, from log2 of the probability of each of its latents."""
    return -jnp.sum(log2, (1, 2, 3))


def rounded(y: Float[Array, "n h w m"], dither: int) -> Float[Array, "n h w m"]:
    """Latents as they are coded: integers, or next to them with `dither` levels."""
    if not dither:
        return jnp.round(y)
    return ops.round_with_dither(y, ops.dither(y.shape[1:], dither)[None])


def check_quantization(quantization: str, expected_gradient: bool = False) -> None:
    """Raises ValueError for what `Quantizer` does not know."""
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"quantization is {quantization!r}, expected one of {QUANTIZATIONS}"
        )
    if expected_gradient and quantization not in ("noise", "mixed"):
        raise ValueError(
            "expected_gradient needs the quantization 'noise' or 'mixed', found "
            f"{quantization!r}"
        )
