"""Learned image codecs: train them, and write real files with them.

codec = codec_jax.load(codec_jax.DEFAULT)
data = codec.compress(image)            # uint8 (h, w, 3) -> bytes
image = codec.decompress(data)
"""

import pim_jax  # noqa: F401  (sets how random numbers are drawn)
from codec_jax.trained import TrainedCodec
from codec_jax.weights import load

# The codec that ships trained.
DEFAULT = "ms64"

__all__ = ["DEFAULT", "TrainedCodec", "load"]
