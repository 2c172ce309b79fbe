"""A transform codec: all its networks, and what training and coding ask of them.

    latents y = gain * analysis(image)
    hyper latents z = hyper_analysis(y); (index, mean) = hyper_synthesis(round(z))
    y_hat = round(y - mean) + mean; image_hat = synthesis(y_hat / gain)

Bits: of z by a factorized prior, of y by normal distributions with these scales and
means; or of y by a factorized prior where there are no hyper latents. With
`config.offsets` the factorized prior's integers are read as integer + offset.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from codec_jax import ops
from codec_jax.entropy import gaussian_conditional
from codec_jax.entropy.factorized import Factorized
from codec_jax.layers import Cells
from codec_jax.models import integer, transforms
from codec_jax.models.config import HYPER_STRIDE, STRIDE, CodecConfig

Quantization = Literal["noise", "mixed", "straight_through", "soft_round"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)


class Pass(NamedTuple):
    """Images through the codec.

    Attributes:
      images: (n, h, w, 3), not clipped.
      bits: of an image, (n,): y and z together.
      hyper_bits: of z alone.
    """

    images: Float[Array, "n h w 3"]
    bits: Float[Array, " n"]
    hyper_bits: Float[Array, " n"]


class Codec(nn.Module):
    """The networks of a codec; images in [0, 1], of any size."""

    config: CodecConfig

    def setup(self) -> None:
        """Only what the configuration asks for has parameters."""
        config = self.config
        self.analysis_transform = transforms.Analysis(config)
        self.synthesis_transform = transforms.Synthesis(config)
        rates = len(config.lambdas)
        if rates > 1:
            start = transforms.initial_log_gains(config.lambdas)[:, None]
            shape = (rates, config.latents)

            def gains(sign: float) -> Any:
                return lambda _: jnp.broadcast_to(jnp.float32(sign * start), shape)

            self.log_gain = self.param("log_gain", gains(1.0))
            self.log_inverse_gain = self.param("log_inverse_gain", gains(-1.0))
        factorized = config.prior == "factorized"
        channels = config.latents if factorized else config.filters
        self.prior = Factorized(channels, config.factorized_filters)
        if config.offsets:
            self.offset = self.param(
                "offset", nn.initializers.zeros, (channels,), jnp.float32
            )
        if factorized:
            return
        self.hyper_analysis_transform = transforms.HyperAnalysis(config)
        if config.hyper == "integer":
            means = config.prior == "mean_scale"
            self.hyper_synthesis_transform: Any = integer.IntegerHyperSynthesis(
                config.latents, means
            )
        else:
            self.hyper_synthesis_transform = transforms.FloatHyperSynthesis(config)

    def features(
        self,
        images: Float[Array, "n h w 3"],
        in_strips: bool = False,
        cells: Cells | None = None,
    ) -> Float[Array, "n h2 w2 m"]:
        """Latents of ceil(h / 16) by ceil(w / 16), before they are scaled for a rate.

        Args:
          images: in [0, 1].
          in_strips: how they are computed, see `strips`.
          cells: rows and columns of latents, if there are fewer than the images have
            room for, see `layers.zero_beyond`.
        """
        return self.analysis_transform(padded(images, STRIDE), in_strips, cells)

    def scaled(
        self, features: Float[Array, "n h w m"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h w m"]:
        """Latents in units of the step that they are rounded with.

        Args:
          features: of `features`.
          rate: position in `config.lambdas`, 0 to len - 1; between two the gains are
            interpolated geometrically (Cui et al. 2021, https://arxiv.org/abs/2003.02012).
        """
        if len(self.config.lambdas) == 1:
            return features
        return features * self.gains(rate)

    def gains(self, rate: Float[Array, " n"]) -> Float[Array, "n 1 1 m"]:
        """Factors of `scaled`; only where there are several rates."""
        return jnp.exp(interpolated(self.log_gain, rate))

    def analysis(
        self, images: Float[Array, "n h w 3"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h2 w2 m"]:
        """Latents of images, scaled for a rate."""
        return self.scaled(self.features(images), rate)

    def synthesis(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        in_strips: bool = False,
        cells: Cells | None = None,
    ) -> Float[Array, "n 16*h 16*w 3"]:
        """Images from rounded latents, not clipped; the others as for `features`."""
        if self.config.prior == "factorized":
            y = self._with_offset(y)
        if len(self.config.lambdas) > 1:
            y = y * jnp.exp(interpolated(self.log_inverse_gain, rate))
        return self.synthesis_transform(y, in_strips, cells)

    def hyper_analysis(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n h2 w2 c"]:
        """Hyper latents of ceil(h / 4) by ceil(w / 4), before they are rounded.

        Args:
          y: latents.
          cells: rows and columns of hyper latents, if there are fewer.
        """
        return self.hyper_analysis_transform(padded(y, HYPER_STRIDE), cells)

    def hyper_synthesis(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes of scales and means, from rounded hyper latents.

        Args:
          z: hyper latents.
          cells: as for `hyper_analysis`; not for the integer hyper-synthesis, whose own
            form for coding is `integer.parameters`.
        """
        more = () if cells is None else (cells,)
        return self.hyper_synthesis_transform(self._with_offset(z), *more)

    def _with_offset(
        self, integers: Float[Array, "n h w c"]
    ) -> Float[Array, "n h w c"]:
        if not self.config.offsets:
            return integers
        return integers + ops.aligned(self.offset.astype(integers.dtype), integers)

    def log_prior(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """log2 P of hyper latents, or of latents where there are no others."""
        return self.prior(x) / np.float32(np.log(2))

    def __call__(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        keys: Key[Array, " n"] | None = None,
        quantization: Quantization = "mixed",
        alpha: Float[Array, ""] | float = 1.0,
        expected_gradient: bool = False,
    ) -> Pass:
        """Images through the codec, with rounding or what replaces it in training.

        Args:
          images: in [0, 1].
          rate: see `scaled`.
          keys: (n,) for the noise of training; None rounds, and counts the bits of
            integers.
          quantization: what replaces rounding. 'noise': both rate and synthesis see
            y + u. 'mixed': the rate sees y + u, the synthesis round(y) with the gradient
            of y (Minnen & Singh 2020, https://arxiv.org/abs/2007.08739).
            'straight_through': both see round(y). 'soft_round': both see
            r(s(y) + u), see `ops.soft_round`.
          alpha: sharpness of soft rounding.
          expected_gradient: take the gradient of the rate with respect to the latents in
            expectation over the noise, see `ops.with_expected_gradient`. With 'noise' or
            'mixed'.

        Raises:
          ValueError: an unknown quantization, or one that has no such expectation.
        """
        check_quantization(quantization, expected_gradient)
        averaged = expected_gradient and keys is not None
        keys_y, keys_z = keys, None
        if keys is not None:
            keys_y, keys_z = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        y = self.analysis(images, rate)
        if self.config.prior == "factorized":
            noisy, seen = quantize(y, keys_y, quantization, alpha, self.config.dither)
            bits = _bits(_rate(self.log_prior, y, noisy, averaged))
            decoded = cropped(self.synthesis(seen, rate), images)
            return Pass(decoded, bits, jnp.zeros_like(bits))
        z = self.hyper_analysis(y)
        # The hyper-synthesis always sees integers: those of `integer` are all it takes.
        noisy_z, _ = quantize(z, keys_z, "mixed", alpha)
        index, mean = (
            cropped(x, y) for x in self.hyper_synthesis(ops.round_straight_through(z))
        )
        v = y - mean
        noisy, seen = quantize(v, keys_y, quantization, alpha, self.config.dither)
        hyper_bits = _bits(_rate(self.log_prior, z, noisy_z, averaged))
        rate_of_y = _rate(gaussian_conditional.log2_mass, v, noisy, averaged, index)
        bits = hyper_bits + _bits(rate_of_y)
        decoded = cropped(self.synthesis(seen + mean, rate), images)
        return Pass(decoded, bits, hyper_bits)


@functools.cache
def parameter_shapes(config: CodecConfig) -> Mapping[str, tuple[int, ...]]:
    """The shape of each parameter by its name, 'prior/bias_0'; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, STRIDE, STRIDE, 3), jnp.float32)
    rate = jax.ShapeDtypeStruct((1,), jnp.float32)
    variables: Any = jax.eval_shape(Codec(config).init, jax.random.key(0), images, rate)
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def padded(x: Float[Array, "n h w c"], stride: int) -> Float[Array, "n h2 w2 c"]:
    """Repeats the last row and column until the size is a multiple of `stride`."""
    _, h, w, _ = x.shape
    if not (h % stride or w % stride):
        return x
    return jnp.pad(x, ((0, 0), (0, -h % stride), (0, -w % stride), (0, 0)), "edge")


def cropped(x: Float[Array, "n h2 w2 c"], like: Array) -> Float[Array, "n h w c"]:
    """The upper left part of the height and width of another."""
    return x[:, : like.shape[1], : like.shape[2]]


def quantize(
    y: Float[Array, "n *s"],
    keys: Key[Array, " n"] | None,
    quantization: Quantization,
    alpha: Float[Array, ""] | float,
    dither: int = 0,
) -> tuple[Float[Array, "n *s"], Float[Array, "n *s"]]:
    """What the rate and what the synthesis see of latents; see `Codec.__call__`.

    Raises:
      ValueError: an unknown quantization.
    """
    check_quantization(quantization)
    if keys is None:
        whole = rounded(y, dither)
        return whole, whole
    if quantization == "straight_through":
        whole = ops.round_straight_through(y)
        return whole, whole
    u = ops.uniform_noise(keys, y)
    if quantization == "noise":
        return y + u, y + u
    if quantization == "mixed":
        return y + u, ops.round_straight_through(y)
    softened = ops.soft_round_conditional_mean(ops.soft_round(y, alpha) + u, alpha)
    return softened, softened


def rounded(y: Float[Array, "n h w m"], dither: int) -> Float[Array, "n h w m"]:
    """Latents as they are coded: integers, or beside them with `config.dither` levels."""
    if not dither:
        return jnp.round(y)
    return ops.round_with_dither(y, ops.dither(y.shape[1:], dither)[None])


def check_quantization(quantization: str, expected_gradient: bool = False) -> None:
    """Raises ValueError for what `Codec.__call__` does not know."""
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"quantization is {quantization!r}, expected one of {QUANTIZATIONS}"
        )
    if expected_gradient and quantization not in ("noise", "mixed"):
        raise ValueError(
            "expected_gradient needs the quantization 'noise' or 'mixed', found "
            f"{quantization!r}"
        )


def _rate(
    log2: Callable[..., Array], y: Array, noisy: Array, averaged: bool, *rest: Array
) -> Array:
    """log2 of the probability of noisy latents."""
    if not averaged:
        return log2(noisy, *rest)
    noise = jax.lax.stop_gradient(noisy - y)
    return ops.with_expected_gradient(log2, y, noise, *rest)


def _bits(log2: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    return -jnp.sum(log2, (1, 2, 3))


def interpolated(
    log_gain: Float[Array, "r m"], rate: Float[Array, " n"]
) -> Float[Array, "n 1 1 m"]:
    """Rows of `log_gain` at positions between them."""
    low = jnp.clip(jnp.floor(rate), 0, len(log_gain) - 2).astype(jnp.int32)
    part = (rate - low.astype(rate.dtype))[:, None]
    found = log_gain[low] * (1 - part) + log_gain[low + 1] * part
    return found[:, None, None, :]
