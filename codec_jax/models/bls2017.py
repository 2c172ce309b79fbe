"""Ballé, Laparra & Simoncelli 2017, "End-to-end optimized image compression".

Three convolutions down by 4, 2 and 2 with GDN between them, mirrored in the synthesis,
and a factorized prior (https://arxiv.org/abs/1611.01704). The paper's GDN is the
'original' one; the default here is today's of tensorflow-compression.
"""

from codec_jax.latents.factorized import FactorizedLatents
from codec_jax.models import transforms
from codec_jax.models.config import CodecConfig
from codec_jax.models.transforms import Analysis, Synthesis

STAGES = ((9, 4), (5, 2), (5, 2))  # side of the kernel, stride


def transform_pair(config: CodecConfig) -> tuple[Analysis, Synthesis]:
    """Analysis and synthesis transform; the last convolution has no bias."""
    return transforms.pair(config, STAGES, last_bias=False)


def latent_codec(config: CodecConfig) -> FactorizedLatents:
    """Each channel of the latents has one distribution."""
    return FactorizedLatents(
        config.latents, config.factorized_filters, config.offsets, config.dither
    )
