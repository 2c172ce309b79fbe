"""Stacks of strided convolutions with divisive normalisation between them."""

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from codec_jax import layers
from codec_jax.layers import Cells, Conv, ConvUp, Gdn, zero_beyond
from codec_jax.models import strips
from codec_jax.models.codec import initial_gain
from codec_jax.models.config import CodecConfig

Stages = tuple[tuple[int, int], ...]  # (side of the kernel, stride) of each


def stride_of(stages: Stages) -> int:
    """Pixels between two latents."""
    return int(np.prod([stride for _, stride in stages]))


class Analysis(nn.Module):
    """Images in [0, 1] to latents, before gains and rounding.

    Attributes:
      stages: of the convolutions, from the image on.
      filters: channels of all but the last (N).
      latents: of the last (M).
      centre: subtracted from images. The middle of the range lets training begin at a
        grey image; CompressAI has 0.
      simplified: the form of GDN, see `layers.Gdn`.
      last_bias: whether the last convolution has one.
      gain: factor of its initial kernel.
    """

    stages: Stages
    filters: int
    latents: int
    centre: float = 0.5
    simplified: bool = True
    last_bias: bool = True
    gain: float = 1.0

    @property
    def stride(self) -> int:
        """Pixels between two latents."""
        return stride_of(self.stages)

    @property
    def margin(self) -> int:
        """Latents that the receptive field reaches."""
        return layers.reach_down(self.stages)

    def setup(self) -> None:
        """Convolutions, and a normalisation after each but the last."""
        last, gain = self.stages[-1], self.gain
        self.conv = [
            *(Conv(self.filters, size, stride) for size, stride in self.stages[:-1]),
            Conv(self.latents, *last, bias=self.last_bias, gain=gain),
        ]
        self.gdn = [Gdn(simplified=self.simplified) for _ in self.stages[:-1]]

    def __call__(
        self, images: Float[Array, "n h w 3"], cells: Cells | None = None
    ) -> Float[Array, "n _h _w m"]:
        """Latents.

        Args:
          images: h and w are multiples of the stride.
          cells: latents that there are; None: all. The images end after these.
        """
        x = zero_beyond(images - self.centre, cells, self.stride)
        if cells is not None and strips.worthwhile(x.shape[1]):
            x = strips.first_stages(self, x, cells)
        else:
            x = self._first_stages(x, cells)
        for gdn, conv in zip(self.gdn[1:], self.conv[2:], strict=True):
            scale = self.stride * x.shape[1] // images.shape[1]
            x = conv(zero_beyond(gdn(x), cells, scale))
        return x

    def _first_stages(self, x: Array, cells: Cells | None) -> Array:
        inner = self.gdn[0](self.conv[0](x))
        return self.conv[1](
            zero_beyond(inner, cells, self.stride // self.conv[0].stride)
        )


class Synthesis(nn.Module):
    """Latents to images, in [0, 1] but for errors: `Analysis` in reverse.

    Attributes: as of `Analysis`; `stages` from the image on, `centre` is added, `gain` is
      a factor of the first kernel.
    """

    stages: Stages
    filters: int
    centre: float = 0.5
    simplified: bool = True
    gain: float = 1.0

    @property
    def stride(self) -> int:
        """Pixels between two latents."""
        return stride_of(self.stages)

    @property
    def margin(self) -> int:
        """Latents that the receptive field reaches."""
        return layers.reach_up(self.stages[::-1])

    def setup(self) -> None:
        """Convolutions upwards, and a normalisation after each but the last."""
        stages = self.stages[::-1]
        self.conv = [
            ConvUp(self.filters, *stages[0], gain=self.gain),
            *(ConvUp(self.filters, size, stride) for size, stride in stages[1:-1]),
            ConvUp(3, *stages[-1]),
        ]
        simplified = self.simplified
        self.igdn = [Gdn(inverse=True, simplified=simplified) for _ in stages[:-1]]

    def __call__(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n _h _w 3"]:
        """Images.

        Args:
          y: latents.
          cells: latents that there are; None: all. Of images, only what belongs to these
            is right.
        """
        x = zero_beyond(y, cells, 1)
        for conv, igdn in zip(self.conv[:-2], self.igdn[:-1], strict=True):
            x = igdn(conv(x))
            x = zero_beyond(x, cells, x.shape[1] // y.shape[1])
        if cells is not None and strips.worthwhile(y.shape[1] * self.stride):
            x = strips.last_stages(self, x, cells)
        else:
            x = self._last_stages(x, cells)
        return x + self.centre

    def _last_stages(self, x: Array, cells: Cells | None) -> Array:
        inner = self.igdn[-1](self.conv[-2](x))
        scale = self.stride // self.conv[-1].stride
        return self.conv[-1](zero_beyond(inner, cells, scale))


_SIMPLIFIED = {"simplified": True, "original": False}


def pair(
    config: CodecConfig, stages: Stages, last_bias: bool = True
) -> tuple[Analysis, Synthesis]:
    """Transforms with these stages and the options of a configuration."""
    gain = initial_gain(config.lambdas)
    simplified = _SIMPLIFIED[config.normalization]
    analysis = Analysis(
        stages,
        config.filters,
        config.latents,
        config.centre,
        simplified,
        last_bias,
        gain,
    )
    synthesis = Synthesis(stages, config.filters, config.centre, simplified, 1 / gain)
    return analysis, synthesis
