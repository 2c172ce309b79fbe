"""Analysis and synthesis transforms, and those of the hyperprior."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from codec_jax import layers, ops
from codec_jax.entropy import gaussian_conditional
from codec_jax.layers import Cells, Conv, Gdn, zero_beyond
from codec_jax.models import strips
from codec_jax.models.config import HYPER_STRIDE, STRIDE, CodecConfig

# (side of the kernel, stride) of each stage of the analysis transform.
STAGES = {
    "bls2017": ((9, 4), (5, 2), (5, 2)),
    "bmshj2018": ((5, 2), (5, 2), (5, 2), (5, 2)),
}
# At this lambda, latents of variance one start with a gain that gives some bits each.
_MIDDLE, _GAIN = 0.0130, 12.0
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": layers.leaky_relu,
}


class Analysis(nn.Module):
    """Images in [0, 1] to latents of 1/16 the size, before gains and rounding."""

    config: CodecConfig

    def setup(self) -> None:
        """Convolutions, and a normalisation after each but the last."""
        stages, features = STAGES[self.config.transforms], self.config.filters
        last_bias = self.config.transforms != "bls2017"
        gain = _initial_gain(self.config)
        self.conv = [
            *(Conv(features, size, stride) for size, stride in stages[:-1]),
            Conv(self.config.latents, *stages[-1], bias=last_bias, gain=gain),
        ]
        simplified = self.config.normalization == "simplified"
        self.gdn = [Gdn(simplified=simplified) for _ in stages[:-1]]

    def __call__(
        self,
        images: Float[Array, "n h w 3"],
        in_strips: bool = False,
        cells: Cells | None = None,
    ) -> Float[Array, "n h/16 w/16 m"]:
        """Latents.

        Args:
          images: h and w are multiples of 16.
          in_strips: the first two stages, see `strips`.
          cells: latents that there are; None: all. The images end after these.
        """
        x = zero_beyond(images - self.config.centre, cells, STRIDE)
        x = (self._first_in_strips if in_strips else self._first)(x, cells)
        for gdn, conv in zip(self.gdn[1:], self.conv[2:], strict=True):
            scale = STRIDE * x.shape[1] // images.shape[1]
            x = conv(zero_beyond(gdn(x), cells, scale))
        return x

    def _first(self, x: Array, cells: Cells | None) -> Array:
        inner = self.gdn[0](self.conv[0](x))
        return self.conv[1](zero_beyond(inner, cells, STRIDE // self.conv[0].stride))

    def _first_in_strips(self, x: Array, cells: Cells | None) -> Array:
        (size, stride), (next_size, next_stride) = STAGES[self.config.transforms][:2]
        reach = size // 2 + stride * (next_size // 2)
        rows, columns = _sides(x, cells, STRIDE)
        height, width = rows // stride, columns // stride

        def layers_of_strip(module: Analysis, window: Array, first: Array) -> Array:
            inner = module.gdn[0](module.conv[0](window, inside=True))
            row = (first + size // 2) // stride
            inner = strips.zero_outside(inner, row, height, width)
            return module.conv[1](inner, inside=True)

        # The last output sees `reach` samples on, of which its stride lies in the strip.
        after = reach + 1 - stride * next_stride
        return strips.mapped(self, layers_of_strip, x, strips.IMAGE_ROWS, reach, after)


class Synthesis(nn.Module):
    """Latents to images, in [0, 1] but for errors."""

    config: CodecConfig

    def setup(self) -> None:
        """Convolutions upwards, and a normalisation after each but the last."""
        stages, features = STAGES[self.config.transforms][::-1], self.config.filters
        gain = 1 / _initial_gain(self.config)
        self.conv = [
            Conv(features, *stages[0], up=True, gain=gain),
            *(Conv(features, size, stride, up=True) for size, stride in stages[1:-1]),
            Conv(3, *stages[-1], up=True),
        ]
        simplified = self.config.normalization == "simplified"
        self.igdn = [Gdn(inverse=True, simplified=simplified) for _ in stages[:-1]]

    def __call__(
        self,
        y: Float[Array, "n h w m"],
        in_strips: bool = False,
        cells: Cells | None = None,
    ) -> Float[Array, "n 16*h 16*w 3"]:
        """Images.

        Args:
          y: latents.
          in_strips: the last two stages, see `strips`.
          cells: latents that there are; None: all. Of images, only what belongs to these
            is right.
        """
        x = zero_beyond(y, cells, 1)
        for conv, igdn in zip(self.conv[:-2], self.igdn[:-1], strict=True):
            x = igdn(conv(x))
            x = zero_beyond(x, cells, x.shape[1] // y.shape[1])
        x = (self._last_in_strips if in_strips else self._last)(x, cells)
        return x + self.config.centre

    def _last(self, x: Array, cells: Cells | None) -> Array:
        inner = self.igdn[-1](self.conv[-2](x))
        return self.conv[-1](zero_beyond(inner, cells, STRIDE // self.conv[-1].stride))

    def _last_in_strips(self, x: Array, cells: Cells | None) -> Array:
        stages = STAGES[self.config.transforms][1::-1]
        (_, stride), (_, next_stride) = stages
        end, next_end = (layers.border(*stage) for stage in stages)
        total = stride * next_stride
        height, width = (stride * side for side in _sides(x, cells, STRIDE // total))
        rows = strips.IMAGE_ROWS // total
        more = end + -(-next_end // stride)

        def layers_of_strip(module: Synthesis, window: Array, first: Array) -> Array:
            inner = module.igdn[-1](module.conv[-2](window, inside=True))
            inner = strips.zero_outside(inner, stride * (first + end), height, width)
            images = module.conv[-1](inner, inside=True)
            begin = total * (more - end) - next_stride * next_end
            return images[:, begin : begin + total * rows]

        return strips.mapped(self, layers_of_strip, x, rows, more, more)


class HyperAnalysis(nn.Module):
    """Latents to hyper latents of 1/4 the size, before rounding."""

    config: CodecConfig

    @nn.compact
    def __call__(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n h/4 w/4 c"]:
        """Hyper latents; `cells`: how many there are, None: all."""
        activation = _ACTIVATIONS[self.config.hyper_activation]
        n = self.config.filters
        # Scales do not depend on the sign.
        x = jnp.abs(y) if self.config.prior == "scale" else y
        x = zero_beyond(x, cells, HYPER_STRIDE)
        x = activation(Conv(n, 3, 1, name="conv_0")(x))
        x = zero_beyond(x, cells, HYPER_STRIDE)
        x = activation(Conv(n, 5, 2, name="conv_1")(x))
        x = zero_beyond(x, cells, HYPER_STRIDE // 2)
        return Conv(n, 5, 2, name="conv_2")(x)


class FloatHyperSynthesis(nn.Module):
    """Rounded hyper latents to indexes of scales and means, in floating point.

    The indexes are not integers. They differ between devices in the last bits, so a file
    is only sure to be decoded by the device that wrote it: see `integer` for the other.
    """

    config: CodecConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes and means; see `models.codec.Codec.hyper_synthesis`."""
        activation = _ACTIVATIONS[self.config.hyper_activation]
        means = self.config.prior == "mean_scale"
        m, n = self.config.latents, self.config.filters
        widths = (m, 3 * m // 2, 2 * m) if means else (n, n, m)
        x = zero_beyond(z, cells, 1)
        x = activation(Conv(widths[0], 5, 2, up=True, name="conv_0")(x))
        x = zero_beyond(x, cells, 2)
        x = activation(Conv(widths[1], 5, 2, up=True, name="conv_1")(x))
        x = zero_beyond(x, cells, HYPER_STRIDE)
        x = Conv(widths[2], 3, 1, up=True, name="conv_2")(x)
        first, mean = x[..., :m], x[..., m:] if means else jnp.zeros_like(x)
        if self.config.hyper == "scale":
            first = first if means else jax.nn.relu(first)
            scale = ops.lower_bound(first, gaussian_conditional.SMALLEST)
            return jnp.clip(
                gaussian_conditional.index_of(scale), 0, gaussian_conditional.COUNT - 1
            ), mean
        index = ops.upper_bound(
            ops.lower_bound(first, 0), gaussian_conditional.COUNT - 1
        )
        return index, mean


def _sides(x: Array, cells: Cells | None, scale: int) -> tuple[Any, Any]:
    """Rows and columns of x that there are, `scale` of each for a cell."""
    if cells is None:
        return x.shape[1], x.shape[2]
    return scale * cells[0], scale * cells[1]


def initial_log_gains(lambdas: tuple[float, ...]) -> Float[np.ndarray, " r"]:
    """Where the logarithms of the gains start: steps proportional to 1 / sqrt(lambda)."""
    return np.log(_GAIN) + 0.5 * np.log(np.array(lambdas) / _MIDDLE)


def _initial_gain(config: CodecConfig) -> float:
    """Of the kernels next to the latents, where there are no gains to do it.

    Latents that are all rounded to zero tell the synthesis nothing to begin with.
    """
    if len(config.lambdas) > 1:
        return 1.0
    return float(np.exp(initial_log_gains(config.lambdas)[0]))
