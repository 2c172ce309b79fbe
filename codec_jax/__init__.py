"""Learned image codecs: train them, and write real files with them.

    codec = codec_jax.load(codec_jax.DEFAULT)
    data = codec.compress(image)            # uint8 (h, w, 3) -> bytes
    image = codec.decompress(data)

`DEFAULT` is the codec that ships trained.
"""

from codec_jax.loading import DEFAULT, load
from codec_jax.trained import TrainedCodec
from pim_jax import moved
from pim_jax.version import __version__

moved.also("codec_jax.objective", "pim_jax.losses", "psnr", "squared_error")

__all__ = ["DEFAULT", "TrainedCodec", "__version__", "load"]
