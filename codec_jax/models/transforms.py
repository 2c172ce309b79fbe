"""Analysis and synthesis transforms, and those of the hyperprior."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from codec_jax import layers, ops
from codec_jax.entropy import scales
from codec_jax.layers import Conv, Gdn
from codec_jax.models.config import CodecConfig

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

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w 3"]
    ) -> Float[Array, "n h/16 w/16 m"]:
        """Latents."""
        x, stages = images - self.config.centre, STAGES[self.config.transforms]
        for number, (size, stride) in enumerate(stages):
            last = number == len(stages) - 1
            features = self.config.latents if last else self.config.filters
            bias = not (last and self.config.transforms == "bls2017")
            gain = _initial_gain(self.config) if last else 1.0
            x = Conv(
                features, size, stride, bias=bias, gain=gain, name=f"conv_{number}"
            )(x)
            if not last:
                simplified = self.config.normalization == "simplified"
                x = Gdn(simplified=simplified, name=f"gdn_{number}")(x)
        return x


class Synthesis(nn.Module):
    """Latents to images, in [0, 1] but for errors."""

    config: CodecConfig

    @nn.compact
    def __call__(self, y: Float[Array, "n h/16 w/16 m"]) -> Float[Array, "n h w 3"]:
        """Images."""
        x, stages = y, STAGES[self.config.transforms][::-1]
        for number, (size, stride) in enumerate(stages):
            last = number == len(stages) - 1
            features = 3 if last else self.config.filters
            gain = 1.0 if number else 1 / _initial_gain(self.config)
            x = Conv(features, size, stride, up=True, gain=gain, name=f"conv_{number}")(
                x
            )
            if not last:
                simplified = self.config.normalization == "simplified"
                x = Gdn(inverse=True, simplified=simplified, name=f"igdn_{number}")(x)
        return x + self.config.centre


class HyperAnalysis(nn.Module):
    """Latents to hyper latents of 1/4 the size, before rounding."""

    config: CodecConfig

    @nn.compact
    def __call__(self, y: Float[Array, "n h w m"]) -> Float[Array, "n h/4 w/4 c"]:
        """Hyper latents."""
        activation = _ACTIVATIONS[self.config.hyper_activation]
        n = self.config.filters
        # Scales do not depend on the sign.
        x = jnp.abs(y) if self.config.prior == "scale" else y
        x = activation(Conv(n, 3, 1, name="conv_0")(x))
        x = activation(Conv(n, 5, 2, name="conv_1")(x))
        return Conv(n, 5, 2, name="conv_2")(x)


class FloatHyperSynthesis(nn.Module):
    """Rounded hyper latents to indexes of scales and means, in floating point.

    The indexes are not integers. They differ between devices in the last bits, so a file
    is only sure to be decoded by the device that wrote it: see `integer` for the other.
    """

    config: CodecConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "n h w c"]
    ) -> tuple[Float[Array, "n 4h 4w m"], Float[Array, "n 4h 4w m"]]:
        """Indexes and means; see `models.codec.Codec.hyper_synthesis`."""
        activation = _ACTIVATIONS[self.config.hyper_activation]
        means = self.config.prior == "mean_scale"
        m, n = self.config.latents, self.config.filters
        widths = (m, 3 * m // 2, 2 * m) if means else (n, n, m)
        x = activation(Conv(widths[0], 5, 2, up=True, name="conv_0")(z))
        x = activation(Conv(widths[1], 5, 2, up=True, name="conv_1")(x))
        x = Conv(widths[2], 3, 1, up=True, name="conv_2")(x)
        first, mean = x[..., :m], x[..., m:] if means else jnp.zeros_like(x)
        if self.config.hyper == "scale":
            first = first if means else jax.nn.relu(first)
            scale = ops.lower_bound(first, scales.SMALLEST)
            return jnp.clip(scales.index_of(scale), 0, scales.COUNT - 1), mean
        index = ops.upper_bound(ops.lower_bound(first, 0), scales.COUNT - 1)
        return index, mean


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
