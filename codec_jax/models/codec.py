"""A codec as networks: analysis transform, latent codec, synthesis transform.

    y = gain * analysis(image)
    y_hat, bits = latent_codec(y)
    image_hat = synthesis(y_hat / gain)

One forward pass serves training, `reconstruct`, coding and complexity.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt8

from codec_jax import ops
from codec_jax.latents.contract import LatentCodec
from codec_jax.latents.quantizer import Quantization, Quantizer
from codec_jax.layers import Cells, cropped, padded

# At this lambda, latents of variance one start with a gain that gives some bits each.
_MIDDLE, _GAIN = 0.0130, 12.0


class Pass(NamedTuple):
    """Images through the codec.

    Attributes:
      images: (n, h, w, 3), not clipped.
      bits: of an image, (n,), side information included.
      hyper_bits: of the side information alone.
    """

    images: Float[Array, "n h w 3"]
    bits: Float[Array, " n"]
    hyper_bits: Float[Array, " n"]


class Codec(nn.Module):
    """The networks of a codec; images in [0, 1], of any size.

    With several rates, latents are multiplied by gains that are learned for each, and
    interpolated geometrically in between (Cui et al. 2021,
    https://arxiv.org/abs/2003.02012).

    Attributes:
      analysis_transform: images -> latents. It has a `stride` in pixels and a `margin`,
        the latents that its receptive field reaches; so has the next.
      synthesis_transform: latents -> images.
      latent_codec: the entropy model.
      lambdas: the Lagrangian weights of the rates, ascending.
      inner_gains: channels inside of both transforms that have gains for each rate as
        well, and are given to the transforms as a third argument; 0: none.
    """

    analysis_transform: nn.Module
    synthesis_transform: nn.Module
    latent_codec: LatentCodec
    lambdas: tuple[float, ...]
    inner_gains: int = 0

    def setup(self) -> None:
        """Gains; the latent codec's parameters stand next to them."""
        nn.share_scope(self, self.latent_codec)
        if len(self.lambdas) == 1:
            return
        start = jnp.float32(initial_log_gains(self.lambdas)[:, None])
        shape = len(self.lambdas), self.latent_codec.latents
        rows = jnp.broadcast_to(start, shape)
        self.log_gain = self.param("log_gain", lambda _: rows)
        self.log_inverse_gain = self.param("log_inverse_gain", lambda _: -rows)
        if self.inner_gains:
            zeros, inner = nn.initializers.zeros, (shape[0], self.inner_gains)
            self.log_analysis_gain = self.param("log_analysis_gain", zeros, inner)
            self.log_synthesis_gain = self.param("log_synthesis_gain", zeros, inner)

    @property
    def stride(self) -> int:
        """Pixels between two latents, in each direction."""
        return self.analysis_transform.stride

    @property
    def one_analysis(self) -> bool:
        """Whether `features` are the same at all rates."""
        return not self.inner_gains

    def features(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        cells: Cells | None = None,
    ) -> Float[Array, "n _h _w m"]:
        """Latents of ceil(h / stride) by ceil(w / stride), before `scaled`.

        Args:
          images: in [0, 1].
          rate: position in `lambdas`, 0 to len - 1, also between two.
          cells: rows and columns of latents that there are, if fewer than the images have
            room for; None: all. Here and below this lets one compiled program serve many
            sizes, see `layers.zero_beyond`.
        """
        whole = padded(images, self.stride)
        if not self.inner_gains:
            return self.analysis_transform(whole, cells)
        gain = jnp.exp(interpolated(self.log_analysis_gain, rate))
        return self.analysis_transform(whole, cells, gain)

    def gains(self, rate: Float[Array, " n"]) -> Float[Array, "n 1 1 m"]:
        """Factors of the features at a rate."""
        if len(self.lambdas) == 1:
            return jnp.ones((len(rate), 1, 1, self.latent_codec.latents), jnp.float32)
        return jnp.exp(interpolated(self.log_gain, rate))

    def scaled(
        self, features: Float[Array, "n h w m"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h w m"]:
        """Latents in units of the step that they are rounded with."""
        return features if len(self.lambdas) == 1 else features * self.gains(rate)

    def analysis(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        cells: Cells | None = None,
    ) -> Float[Array, "n _h _w m"]:
        """Latents of images, scaled for a rate; arguments as for `features`."""
        return self.scaled(self.features(images, rate, cells), rate)

    def synthesis(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        cells: Cells | None = None,
    ) -> Float[Array, "n _h _w 3"]:
        """Images from decoded latents, not clipped; the others as for `features`."""
        if len(self.lambdas) > 1:
            y = y * jnp.exp(interpolated(self.log_inverse_gain, rate))
        if not self.inner_gains:
            return self.synthesis_transform(y, cells)
        gain = jnp.exp(interpolated(self.log_synthesis_gain, rate))
        return self.synthesis_transform(y, cells, gain)

    def __call__(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        keys: Key[Array, " n"] | None = None,
        quantization: Quantization = "mixed",
        alpha: Float[Array, ""] | float = 1.0,
        expected_gradient: bool = False,
    ) -> Pass:
        """Images through the codec, with rounding or its replacement in training.

        Args:
          images: in [0, 1].
          rate: position in `lambdas`, 0 to len - 1.
          keys, quantization, alpha, expected_gradient: see `quantizer.Quantizer`. Without
            keys latents are rounded, and bits are those of integers.

        Raises:
          ValueError: an unknown quantization, or one without an expected gradient.
        """
        quantizer = Quantizer(keys, quantization, alpha, expected_gradient)
        y = self.analysis(images, rate)
        y_hat, bits, hyper_bits = self.latent_codec(y, rate, quantizer)
        decoded = cropped(self.synthesis(y_hat, rate), images)
        return Pass(decoded, bits, hyper_bits)

    def features_of_pixels(
        self, pixels: UInt8[Array, "n h w 3"], rate: Float[Array, " n"], cells: Cells
    ) -> Float[Array, "n _h _w m"]:
        """`features` of images of 8 bits."""
        return self.features(pixels.astype(jnp.float32) / 255, rate, cells)

    def decoded_pixels(
        self, y: Float[Array, "n h w m"], rate: Float[Array, " n"], cells: Cells
    ) -> UInt8[Array, "n _h _w 3"]:
        """`synthesis` to images of 8 bits."""
        return ops.eight_bits(self.synthesis(y, rate, cells)).astype(jnp.uint8)


def initial_log_gains(lambdas: tuple[float, ...]) -> Float[np.ndarray, " r"]:
    """Where the logarithms of the gains start: steps proportional to 1 / sqrt(lambda)."""
    return np.log(_GAIN) + 0.5 * np.log(np.array(lambdas) / _MIDDLE)


def initial_gain(lambdas: tuple[float, ...]) -> float:
    """Of the kernels next to the latents, where there are no gains for several rates.

    Latents that are all rounded to zero tell the synthesis nothing to begin with.
    """
    return 1.0 if len(lambdas) > 1 else float(np.exp(initial_log_gains(lambdas)[0]))


def interpolated(
    log_gain: Float[Array, "r m"], rate: Float[Array, " n"]
) -> Float[Array, "n 1 1 m"]:
    """Rows of `log_gain` at positions between them."""
    low = jnp.clip(jnp.floor(rate), 0, len(log_gain) - 2).astype(jnp.int32)
    part = (rate - low.astype(rate.dtype))[:, None]
    found = log_gain[low] * (1 - part) + log_gain[low + 1] * part
    return found[:, None, None, :]


@functools.cache
def parameter_shapes(codec: Codec) -> Mapping[str, tuple[int, ...]]:
    """The shape of each parameter by its name, 'prior/bias_0'; nothing is computed."""
    images, rate = (
        jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 64, 64, 3), (1,))
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables: Any = jax.eval_shape(codec.init, key, images, rate)
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def init_params(codec: Codec, key: PRNGKeyArray) -> Any:
    """Random parameters."""
    images = jnp.zeros((1, codec.stride, codec.stride, 3))
    return jax.jit(codec.init)(key, images, jnp.zeros(1))["params"]
