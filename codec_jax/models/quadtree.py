"""A codec for every rate whose context model decodes in four steps.

    analysis         space-to-depth by 8, depth-convolution blocks at 1/8, latents at 1/16
    hyper_analysis   latents -> hyper latents z at 1/64
    scales           z -> table rows, by a network of integers (`models.integer`)
    hyper_synthesis  z -> means of the first step, and features that all steps see
    context          latents decoded so far, features -> means of the next step
    synthesis        latents -> depth-convolution blocks at 1/8, depth-to-space by 8

The order of decoding is a quadtree's: latents are split into four groups of channels,
positions into cells of 2 x 2, and in each of four steps every group decodes another
position of each cell. So half of a latent's neighbours are known from the second step on,
and three network passes decode an image of any size.

The context refines means alone. Every scale comes from the hyper latents by integer
arithmetic, so the rows of the tables, and with them the symbols of a file, are the same
on every device; floating point errors reach only the picture, by an ulp.

The network follows the intra codec of DCVC (Jia et al. 2025,
https://arxiv.org/abs/2502.20762, and its repository), the order of decoding Li et al.
2023, https://arxiv.org/abs/2302.14402 (DCVC-DC), the gains for each rate Cui et al. 2021,
https://arxiv.org/abs/2003.02012. Sizes, and what is integer, are ours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from codec_jax import ops
from codec_jax.entropy import gaussian_conditional
from codec_jax.entropy.factorized import Factorized
from codec_jax.layers import Cells, zero_beyond
from codec_jax.models.codec import Pass, cropped, interpolated, padded
from codec_jax.models.config import HYPER_STRIDE, LAMBDAS, STRIDE
from codec_jax.models.integer import IntegerHyperSynthesis
from codec_jax.models.transforms import initial_log_gains

_PATCH = 8  # pixels between two features of the transforms
STEPS = 4
# Position in a cell of 2 x 2 (row, column) that each group of channels decodes in each
# step: every position is decoded once in each group, and in each step by some group.
ORDER = (
    ((0, 0), (0, 1), (1, 0), (1, 1)),
    ((1, 1), (1, 0), (0, 1), (0, 0)),
    ((1, 0), (1, 1), (0, 0), (0, 1)),
    ((0, 1), (0, 0), (1, 1), (1, 0)),
)
# Residual branches start small, so that a fresh network is nearly linear.
_BRANCH = 0.2


@dataclasses.dataclass(frozen=True)
class QuadtreeConfig:
    """The architecture.

    Attributes:
      features: channels of the transforms at 1/8 of the image's size (C).
      latents: channels at 1/16 (N), a multiple of 4.
      hyper_latents: channels at 1/64.
      analysis_blocks, synthesis_blocks: depth-convolution blocks at 1/8, without those
        that change the number of channels.
      context: whether latents are predicted from those of earlier steps; without it all
        means come from the hyper latents.
      lambdas: the Lagrangian weights of the rates, in units of squared error on the scale
        0..255, ascending; between two the gains are interpolated geometrically.
    """

    features: int = 256
    latents: int = 192
    hyper_latents: int = 128
    analysis_blocks: int = 4
    synthesis_blocks: int = 8
    context: bool = True
    lambdas: tuple[float, ...] = (0.0009, *LAMBDAS)

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that no network has."""
        for field in ("features", "latents", "hyper_latents"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"model.{field} is {getattr(self, field)}, expected >= 1"
                )
        if self.latents % STEPS:
            raise ValueError(
                f"model.latents is {self.latents}, expected a multiple of {STEPS}"
            )
        rising = all(
            a < b for a, b in zip(self.lambdas, self.lambdas[1:], strict=False)
        )
        if len(self.lambdas) < 2 or not rising or not self.lambdas[0] > 0:
            raise ValueError(
                f"model.lambdas is {self.lambdas}, expected two or more, positive and "
                "ascending"
            )


# In the sizes of the README; kMAC for each pixel to decode: 142 and 64.
QUADTREES = {
    "quadtree-256": QuadtreeConfig(),
    "quadtree-192": QuadtreeConfig(features=192, latents=128, synthesis_blocks=6),
}


def space_to_depth(x: Float[Array, "n h w c"], by: int) -> Array:
    """(n, h, w, c) -> (n, h / by, w / by, by * by * c)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // by, by, w // by, by, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // by, w // by, by * by * c)


def depth_to_space(x: Float[Array, "n h w c"], by: int) -> Array:
    """The inverse of `space_to_depth`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, by, by, c // by**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * by, w * by, c // by**2)


def wsilu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """X sigmoid(4 x)."""
    return x * jax.nn.sigmoid(4 * x)


@jax.custom_vjp
def depthwise(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c"]) -> Array:
    """A 3 x 3 convolution of each channel, zeros outside, as nine multiply-adds.

    Compilers fuse these into one pass; library calls for grouped convolutions, and their
    gradients, are many times slower on accelerators (jax issues 13800, 26266).
    """
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = jnp.zeros(x.shape, x.dtype)
    for a in range(3):
        for b in range(3):
            total = total + padded[:, a : a + h, b : b + w] * ops.aligned(
                kernel[a, b], x
            )
    return total


def _depthwise_forward(x: Array, kernel: Array) -> Any:
    return depthwise(x, kernel), (x, kernel)


def _depthwise_backward(saved: Any, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        jnp.sum(
            (padded[:, a : a + h, b : b + w] * gradient).astype(jnp.float32), (0, 1, 2)
        )
        for a in range(3)
        for b in range(3)
    ]
    of_kernel = jnp.stack(taps).reshape(kernel.shape).astype(kernel.dtype)
    return depthwise(gradient, kernel[::-1, ::-1]), of_kernel


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


class Dense(nn.Module):
    """A convolution of 1 x 1.

    Attributes:
      features: outputs.
      gain: factor of the initial kernel.
      exact: whether the output is float32 whatever the input.
    """

    features: int
    gain: float = 1.0
    exact: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """The output in the precision of the input."""
        inputs = x.shape[-1]
        kernel = self.param(
            "kernel",
            nn.initializers.normal(self.gain / np.sqrt(inputs)),
            (inputs, self.features),
            jnp.float32,
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        kind = jnp.float32 if self.exact else x.dtype
        y = jax.lax.dot_general(
            x,
            kernel.astype(x.dtype),
            (((3,), (0,)), ((), ())),
            preferred_element_type=kind,
        )
        return y + ops.aligned(bias.astype(kind), y)


class DepthConvBlock(nn.Module):
    """A residual block for mixing places, and one for mixing channels.

    Attributes:
      features: outputs.
      adapt: convolve the input first, also where it has as many channels already.
    """

    features: int
    adapt: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], cells: Cells | None = None, scale: int = 1
    ) -> Float[Array, "n h w o"]:
        """The output, of the same height and width; `cells`, `scale`: see `zero_beyond`."""
        c = self.features
        if self.adapt or x.shape[-1] != c:
            x = Dense(c, name="adaptor")(x)
        kernel = self.param(
            "depthwise", nn.initializers.normal(1 / 3), (3, 3, c), jnp.float32
        )
        places = zero_beyond(wsilu(Dense(c, name="before")(x)), cells, scale)
        places = depthwise(places, kernel.astype(x.dtype))
        x = x + Dense(c, _BRANCH, name="after")(places)
        wide = wsilu(Dense(4 * c, name="wide")(x))
        summed = wide.reshape(*wide.shape[:-1], 4, c).sum(-2)
        return x + Dense(c, _BRANCH, name="narrow")(summed)


class Analysis(nn.Module):
    """Images to latents of 1/16 the size, before gains and rounding."""

    config: QuadtreeConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w 3"],
        gain: Float[Array, "n 1 1 c"],
        cells: Cells | None = None,
    ) -> Float[Array, "n h/16 w/16 m"]:
        """Latents, float32; h and w are multiples of 16, of which `cells` are there."""
        c, scale = self.config.features, STRIDE // _PATCH
        x = DepthConvBlock(c, name="block_0")(space_to_depth(x, _PATCH), cells, scale)
        x = x * gain.astype(x.dtype)
        for k in range(self.config.analysis_blocks):
            x = DepthConvBlock(c, name=f"block_{k + 1}")(x, cells, scale)
        down = space_to_depth(x, STRIDE // _PATCH)
        return Dense(self.config.latents, exact=True, name="down")(down)


class Synthesis(nn.Module):
    """Latents to images, in [-1/2, 1/2] but for errors."""

    config: QuadtreeConfig

    @nn.compact
    def __call__(
        self,
        y: Float[Array, "n h w m"],
        gain: Float[Array, "n 1 1 c"],
        cells: Cells | None = None,
    ) -> Float[Array, "n 16*h 16*w 3"]:
        """Images, float32, of latents of which `cells` are there."""
        c, up = self.config.features, STRIDE // _PATCH
        x = depth_to_space(Dense(up**2 * c, name="up")(y), up)
        for k in range(self.config.synthesis_blocks + 1):
            x = DepthConvBlock(c, name=f"block_{k}")(x, cells, up)
        x = DepthConvBlock(c, name="last")(x * gain.astype(x.dtype), cells, up)
        out = Dense(3 * _PATCH**2, exact=True, name="image")(x)
        return depth_to_space(out, _PATCH)


class HyperAnalysis(nn.Module):
    """Latents to hyper latents of 1/4 the size, before rounding."""

    config: QuadtreeConfig

    @nn.compact
    def __call__(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n h/4 w/4 c"]:
        """Hyper latents, float32, of which `cells` are there."""
        c = self.config.hyper_latents
        x = DepthConvBlock(c, name="block_0")(y, cells, 4)
        x = Dense(c, name="down_0")(space_to_depth(x, 2))
        x = DepthConvBlock(c, name="block_1")(x, cells, 2)
        x = Dense(c, name="down_1")(space_to_depth(x, 2))
        x = DepthConvBlock(c, name="block_2")(x, cells, 1)
        return Dense(c, exact=True, name="out")(x)


class HyperSynthesis(nn.Module):
    """Rounded hyper latents to features at the latents' size."""

    config: QuadtreeConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> Float[Array, "n 4*h 4*w f"]:
        """Features of twice the latents' channels; of z `cells` are there."""
        c, m = self.config.hyper_latents, self.config.latents
        x = z
        for k, scale in enumerate((2, 4)):
            x = depth_to_space(Dense(4 * c, name=f"up_{k}")(x), 2)
            x = DepthConvBlock(c, name=f"block_{k}")(x, cells, scale)
        x = DepthConvBlock(m, name="block_2")(x, cells, 4)
        for k in range(3):
            x = DepthConvBlock(2 * m, name=f"fusion_{k}")(x, cells, 4)
        return x


class Context(nn.Module):
    """Means of a step from the latents decoded before it."""

    config: QuadtreeConfig

    def setup(self) -> None:
        """The first block belongs to a step, all others serve every step."""
        m = self.config.latents
        self.reduction = Dense(m)
        self.adaptors = [DepthConvBlock(2 * m, adapt=True) for _ in range(STEPS - 1)]
        self.blocks = [DepthConvBlock(2 * m) for _ in range(3)]
        self.means = Dense(m, exact=True)

    def common(self, features: Float[Array, "n h w f"]) -> Float[Array, "n h w m"]:
        """The part of the hyper-synthesis's features that all steps see."""
        return self.reduction(features)

    def __call__(
        self,
        step: int,
        y_hat: Float[Array, "n h w m"],
        common: Float[Array, "n h w m"],
        size: Cells | None = None,
    ) -> Float[Array, "n h w m"]:
        """Means of step 1, 2 or 3.

        Args:
          step: which.
          y_hat: zero where nothing is decoded yet.
          common: of `common`.
          size: rows and columns of latents that there are; None: all.
        """
        x = jnp.concatenate([y_hat.astype(common.dtype), common], -1)
        x = self.adaptors[step - 1](x, size)
        for block in self.blocks:
            x = block(x, size)
        return self.means(x)


class Quadtree(nn.Module):
    """The networks of the codec; images in [0, 1], of any size.

    Attributes:
      config: the architecture.
      compute: of activations and of the weights' copies; sums of likelihoods, latents
        and images are float32 always.
    """

    config: QuadtreeConfig
    compute: Any = jnp.float32

    def setup(self) -> None:
        """All networks."""
        config = self.config
        self.analysis_transform = Analysis(config)
        self.synthesis_transform = Synthesis(config)
        self.hyper_analysis_transform = HyperAnalysis(config)
        self.hyper_synthesis_transform = HyperSynthesis(config)
        self.first_means = Dense(config.latents, exact=True)
        self.scale_synthesis = IntegerHyperSynthesis(config.latents, means=False)
        self.prior = Factorized(config.hyper_latents)
        if config.context:
            self.context = Context(config)
        rates = len(config.lambdas)
        start = initial_log_gains(config.lambdas)
        rows = jnp.broadcast_to(jnp.float32(start[:, None]), (rates, config.latents))

        def zeros(_: Any, shape: tuple[int, ...]) -> Array:
            return jnp.zeros(shape, jnp.float32)

        self.log_gain = self.param("log_gain", lambda _: rows)
        self.log_inverse_gain = self.param("log_inverse_gain", lambda _: -rows)
        shape = (rates, config.features)
        self.log_analysis_gain = self.param("log_analysis_gain", zeros, shape)
        self.log_synthesis_gain = self.param("log_synthesis_gain", zeros, shape)
        shape = (rates, config.hyper_latents)
        self.prior_log_scale = self.param("prior_log_scale", zeros, shape)
        self.prior_shift = self.param("prior_shift", zeros, shape)

    def analysis(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        cells: Cells | None = None,
    ) -> Float[Array, "n h2 w2 m"]:
        """Latents of ceil(h / 16) by ceil(w / 16), scaled for a rate, float32.

        Args:
          images: in [0, 1].
          rate: position in `config.lambdas`, 0 to len - 1; between two the gains are
            interpolated geometrically.
          cells: rows and columns of latents that there are; None: all. Here and below
            this lets one compiled program serve many sizes, see `layers.zero_beyond`.
        """
        x = (padded(images, STRIDE) - 0.5).astype(self.compute)
        gain = jnp.exp(interpolated(self.log_analysis_gain, rate))
        y = self.analysis_transform(x, gain, cells)
        return y * jnp.exp(interpolated(self.log_gain, rate))

    def synthesis(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        cells: Cells | None = None,
    ) -> Float[Array, "n 16*h 16*w 3"]:
        """Images from decoded latents; not clipped, float32."""
        y = y * jnp.exp(interpolated(self.log_inverse_gain, rate))
        gain = jnp.exp(interpolated(self.log_synthesis_gain, rate))
        return self.synthesis_transform(y.astype(self.compute), gain, cells) + 0.5

    def hyper_analysis(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n h2 w2 c"]:
        """Hyper latents of ceil(h / 4) by ceil(w / 4), before they are rounded."""
        y = _compressed(y).astype(self.compute)
        return self.hyper_analysis_transform(padded(y, HYPER_STRIDE), cells)

    def rows(self, z: Float[Array, "n h w c"]) -> Float[Array, "n 4*h 4*w m"]:
        """Indexes of scales, integers 0 to 63, from integer hyper latents."""
        return self.scale_synthesis(z)[0]

    def hyper_synthesis(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> Float[Array, "n 4*h 4*w f"]:
        """Features that means are computed from, from rounded hyper latents."""
        return self.hyper_synthesis_transform(
            _compressed(z).astype(self.compute), cells
        )

    def log2_prior(
        self, z: Float[Array, "n h w c"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h w c"]:
        """log2 P(z) under the prior of the nearest of the trained rates."""
        nearest = jnp.round(rate).astype(jnp.int32)
        scale = jnp.exp(self.prior_log_scale[nearest])[:, None, None]
        shift = self.prior_shift[nearest][:, None, None]
        return self.prior.scaled(z, scale, shift) / np.float32(np.log(2))

    def predicted(
        self,
        features: Float[Array, "n h w f"],
        decode: Callable[[Array], Array],
        size: Cells | None = None,
    ) -> tuple[Float[Array, "n h w m"], Float[Array, "n h w m"]]:
        """Means of all latents and the decoded latents, found step by step.

        Args:
          features: of `hyper_synthesis`, cropped to the latents.
          decode: from means to the latents that are decoded with them, for all places.
          size: rows and columns of latents that there are; None: all.
        """
        means = self.first_means(features)
        if not self.config.context:
            return means, decode(means)
        common = self.context.common(features)
        shape = means.shape[1:]
        y_hat = jnp.zeros_like(means)
        found = jnp.zeros_like(means)
        for step in range(STEPS):
            if step:
                means = self.context(step, _compressed(y_hat), common, size)
            mask = jnp.asarray(step_mask(shape, step))[None]
            found = jnp.where(mask, means, found)
            y_hat = jnp.where(mask, decode(means), y_hat)
        return found, y_hat

    def __call__(
        self,
        images: Float[Array, "n h w 3"],
        rate: Float[Array, " n"],
        keys: Key[Array, " n"] | None = None,
    ) -> Pass:
        """Images through the codec, with rounding or what replaces it in training.

        Args:
          images: in [0, 1].
          rate: position in `config.lambdas`, 0 to len - 1.
          keys: (n,) for the noise of the rate in training, where the synthesis sees
            rounded latents with the gradient of y (Minnen & Singh 2020); None rounds,
            and counts the bits of integers.
        """
        y = self.analysis(images, rate)
        z = self.hyper_analysis(y)
        z_hat = ops.round_straight_through(z)
        features = cropped(self.hyper_synthesis(z_hat), y)
        index = cropped(self.rows(z_hat), y)

        def decode(means: Array) -> Array:
            return ops.round_straight_through(y - means) + means

        means, y_hat = self.predicted(features, decode)
        v = y - means
        if keys is None:
            noisy_v = ops.round_straight_through(v)
            noisy_z = ops.round_straight_through(z)
        else:
            keys_y, keys_z = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            noisy_v = v + ops.uniform_noise(keys_y, v)
            noisy_z = z + ops.uniform_noise(keys_z, z)
        hyper_bits = -jnp.sum(self.log2_prior(noisy_z, rate), (1, 2, 3))
        bits = hyper_bits - jnp.sum(
            gaussian_conditional.log2_mass(noisy_v, index), (1, 2, 3)
        )
        decoded = cropped(self.synthesis(y_hat, rate), images)
        return Pass(decoded, bits, hyper_bits)


def _compressed(y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Latents of all rates in one range: nearly linear up to 8, logarithmic beyond."""
    return 8 * jnp.arcsinh(y / 8)


def step_mask(shape: tuple[int, ...], step: int) -> np.ndarray:
    """Which latents of (h, w, m) are decoded in a step, bool."""
    h, w, m = shape
    found = np.zeros((h, w, m), bool)
    width = m // STEPS
    for group, (row, column) in enumerate(ORDER[step]):
        found[row::2, column::2, group * width : (group + 1) * width] = True
    return found
