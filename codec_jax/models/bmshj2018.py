"""Ballé, Minnen, Singh, Hwang & Johnston 2018: the scale hyperprior.

"Variational image compression with a scale hyperprior",
https://arxiv.org/abs/1802.01436. Four convolutions down by 2 with GDN between them. The
scales of latents come from hyper latents of their magnitudes. (The paper's model without
hyperprior is these transforms with `bls2017.latent_codec`.)
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from codec_jax import layers
from codec_jax.latents.hyperprior import (
    FloatHyperSynthesis,
    HyperpriorLatents,
    ScaleHyperSynthesis,
)
from codec_jax.latents.integer import IntegerHyperSynthesis
from codec_jax.layers import Cells, Conv, zero_beyond
from codec_jax.models import transforms
from codec_jax.models.config import CodecConfig
from codec_jax.models.transforms import Analysis, Synthesis

STAGES = ((5, 2), (5, 2), (5, 2), (5, 2))  # side of the kernel, stride


def transform_pair(config: CodecConfig) -> tuple[Analysis, Synthesis]:
    """Analysis and synthesis transform."""
    return transforms.pair(config, STAGES)


class HyperAnalysis(nn.Module):
    """Latents to hyper latents of 1/4 the size, before rounding.

    Attributes:
      filters: channels (N).
      magnitudes: whether signs are ignored, since scales do not depend on them.
      activation: between the three layers, a key of `layers.ACTIVATIONS`.
    """

    filters: int
    magnitudes: bool = True
    activation: str = "relu"

    stride = 4
    margin = layers.reach_down(((3, 1), (5, 2), (5, 2)))

    @nn.compact
    def __call__(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n _h _w c"]:
        """Hyper latents; `cells`: how many there are, None: all."""
        activation = layers.ACTIVATIONS[self.activation]
        x = jnp.abs(y) if self.magnitudes else y
        x = zero_beyond(x, cells, 4)
        x = activation(Conv(self.filters, 3, 1, name="conv_0")(x))
        x = zero_beyond(x, cells, 4)
        x = activation(Conv(self.filters, 5, 2, name="conv_1")(x))
        x = zero_beyond(x, cells, 2)
        return Conv(self.filters, 5, 2, name="conv_2")(x)


def _integers(config: CodecConfig) -> nn.Module:
    return IntegerHyperSynthesis(config.latents, means=False)


def _indexes(config: CodecConfig) -> nn.Module:
    return FloatHyperSynthesis(config.latents, _widths(config), config.hyper_activation)


def _scales(config: CodecConfig) -> nn.Module:
    return ScaleHyperSynthesis(
        config.latents, _widths(config), config.hyper_activation, rectified=True
    )


def _widths(config: CodecConfig) -> tuple[int, int, int]:
    return config.filters, config.filters, config.latents


# How scales are predicted, see `CodecConfig.hyper`.
HYPER_SYNTHESES = {"integer": _integers, "index": _indexes, "scale": _scales}


def latent_codec(config: CodecConfig) -> HyperpriorLatents:
    """Normal distributions with a mean of zero."""
    return HyperpriorLatents(
        config.latents,
        config.filters,
        HyperAnalysis(config.filters, True, config.hyper_activation),
        HYPER_SYNTHESES[config.hyper](config),
        config.factorized_filters,
        config.offsets,
        config.dither,
    )
