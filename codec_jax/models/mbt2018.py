"""Minnen, Ballé & Toderici 2018: the hyperprior predicts means as well.

"Joint autoregressive and hierarchical priors for learned image compression",
https://arxiv.org/abs/1809.02736. The transforms are those of `bmshj2018`; this is the
model without the autoregressive context.
"""

import flax.linen as nn

from codec_jax.latents.hyperprior import (
    FloatHyperSynthesis,
    HyperpriorLatents,
    ScaleHyperSynthesis,
)
from codec_jax.latents.integer import IntegerHyperSynthesis
from codec_jax.models.bmshj2018 import HyperAnalysis
from codec_jax.models.config import CodecConfig


def _integers(config: CodecConfig) -> nn.Module:
    return IntegerHyperSynthesis(config.latents, means=True)


def _indexes(config: CodecConfig) -> nn.Module:
    return FloatHyperSynthesis(config.latents, _widths(config), config.hyper_activation)


def _scales(config: CodecConfig) -> nn.Module:
    return ScaleHyperSynthesis(config.latents, _widths(config), config.hyper_activation)


def _widths(config: CodecConfig) -> tuple[int, int, int]:
    return config.latents, 3 * config.latents // 2, 2 * config.latents


# How scales and means are predicted, see `CodecConfig.hyper`.
HYPER_SYNTHESES = {"integer": _integers, "index": _indexes, "scale": _scales}


def latent_codec(config: CodecConfig) -> HyperpriorLatents:
    """Normal distributions with scales and means from hyper latents."""
    return HyperpriorLatents(
        config.latents,
        config.filters,
        HyperAnalysis(config.filters, False, config.hyper_activation),
        HYPER_SYNTHESES[config.hyper](config),
        config.factorized_filters,
        config.offsets,
        config.dither,
    )
