"""A transform codec: all its networks, and what training and coding ask of them.

    latents y = gain * analysis(image)
    hyper latents z = hyper_analysis(y); (index, mean) = hyper_synthesis(round(z))
    y_hat = round(y - mean) + mean; image_hat = synthesis(y_hat / gain)

Bits: of z by a factorized prior, of y by normal distributions with these scales and
means; or of y by a factorized prior where there are no hyper latents. With
`config.offsets` the factorized prior's integers are read as integer + offset.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from codec_jax import ops
from codec_jax.entropy import scales
from codec_jax.entropy.factorized import Factorized
from codec_jax.models import integer, transforms
from codec_jax.models.config import CodecConfig

Quantization = Literal["noise", "mixed", "straight_through", "soft_round"]
QUANTIZATIONS = ("noise", "mixed", "straight_through", "soft_round")


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
    """The networks of a codec; images in [0, 1], sizes multiples of `config.stride`."""

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
            self.offset = self.param("offset", nn.initializers.zeros, (channels,))
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

    def analysis(
        self, images: Float[Array, "n h w 3"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h/16 w/16 m"]:
        """Latents, in units of the step that they are rounded with.

        Args:
          images: in [0, 1].
          rate: position in `config.lambdas`, 0 to len - 1; between two the gains are
            interpolated geometrically (Cui et al. 2021, https://arxiv.org/abs/2003.02012).
        """
        y = self.analysis_transform(images)
        if len(self.config.lambdas) == 1:
            return y
        return y * jnp.exp(_interpolated(self.log_gain, rate))

    def synthesis(
        self, y: Float[Array, "n h/16 w/16 m"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h w 3"]:
        """Images from rounded latents; not clipped."""
        if self.config.prior == "factorized":
            y = self._with_offset(y)
        if len(self.config.lambdas) > 1:
            y = y * jnp.exp(_interpolated(self.log_inverse_gain, rate))
        return self.synthesis_transform(y)

    def hyper_analysis(
        self, y: Float[Array, "n h w m"]
    ) -> Float[Array, "n h/4 w/4 c"]:
        """Hyper latents, before they are rounded."""
        return self.hyper_analysis_transform(y)

    def hyper_synthesis(
        self, z: Float[Array, "n h w c"]
    ) -> tuple[Float[Array, "n 4h 4w m"], Float[Array, "n 4h 4w m"]]:
        """Indexes of scales and means, from rounded hyper latents."""
        return self.hyper_synthesis_transform(self._with_offset(z))

    def _with_offset(self, integers: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
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
        key: PRNGKeyArray | None = None,
        quantization: Quantization = "mixed",
        alpha: Float[Array, ""] | float = 1.0,
    ) -> Pass:
        """Images through the codec, with rounding or what replaces it in training.

        Args:
          images: in [0, 1].
          rate: see `analysis`.
          key: for the noise of training; None rounds, and counts the bits of integers.
          quantization: what replaces rounding. 'noise': both rate and synthesis see
            y + u. 'mixed': the rate sees y + u, the synthesis round(y) with the gradient
            of y (Minnen & Singh 2020, https://arxiv.org/abs/2007.08739).
            'straight_through': both see round(y). 'soft_round': both see
            r(s(y) + u), see `ops.soft_round`.
          alpha: sharpness of soft rounding.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        y = self.analysis(images, rate)
        if self.config.prior == "factorized":
            noisy, rounded = quantize(y, keys[0], quantization, alpha)
            bits = _bits(self.log_prior(noisy))
            return Pass(self.synthesis(rounded, rate), bits, jnp.zeros_like(bits))
        z = self.hyper_analysis(y)
        # The hyper-synthesis always sees integers: those of `integer` are all it takes.
        noisy_z, _ = quantize(z, keys[1], "mixed", alpha)
        index, mean = self.hyper_synthesis(ops.round_straight_through(z))
        noisy, rounded = quantize(y - mean, keys[0], quantization, alpha)
        hyper_bits = _bits(self.log_prior(noisy_z))
        log2 = scales.log_mass(noisy, index) / np.float32(np.log(2))
        return Pass(
            self.synthesis(rounded + mean, rate), hyper_bits + _bits(log2), hyper_bits
        )


def quantize(
    y: Float[Array, "*s"],
    key: PRNGKeyArray | None,
    quantization: Quantization,
    alpha: Float[Array, ""] | float,
) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """What the rate and what the synthesis see of latents; see `Codec.__call__`.

    Raises:
      ValueError: an unknown quantization.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"quantization is {quantization!r}, expected one of {QUANTIZATIONS}"
        )
    if key is None:
        return jnp.round(y), jnp.round(y)
    if quantization == "straight_through":
        rounded = ops.round_straight_through(y)
        return rounded, rounded
    u = ops.uniform_noise(key, y)
    if quantization == "noise":
        return y + u, y + u
    if quantization == "mixed":
        return y + u, ops.round_straight_through(y)
    softened = ops.soft_round_conditional_mean(ops.soft_round(y, alpha) + u, alpha)
    return softened, softened


def _bits(log2: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    return -jnp.sum(log2, (1, 2, 3))


def _interpolated(
    log_gain: Float[Array, "r m"], rate: Float[Array, " n"]
) -> Float[Array, "n 1 1 m"]:
    """Rows of `log_gain` at positions between them."""
    low = jnp.clip(jnp.floor(rate), 0, len(log_gain) - 2).astype(jnp.int32)
    part = (rate - low)[:, None]
    found = log_gain[low] * (1 - part) + log_gain[low + 1] * part
    return found[:, None, None, :]
