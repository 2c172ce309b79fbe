"""Learned image codecs: train them, and write real files with them.

    codec = codec_jax.load(codec_jax.DEFAULT)
    data = codec.compress(image)            # uint8 (h, w, 3) -> bytes
    image = codec.decompress(data)

`DEFAULT` is the codec that ships trained.
"""

import pim_jax  # noqa: F401  (sets how random numbers are drawn)
from codec_jax.trained import TrainedCodec
from codec_jax.weights import DEFAULT, load

__all__ = ["DEFAULT", "TrainedCodec", "load"]
