"""Latents whose means are refined in four steps, in the order of a quadtree.

    scales           z -> table rows, by a network of integers (`latents.integer`)
    hyper_synthesis  z -> means of the first step, and features that all steps see
    context          latents decoded so far, features -> means of the next step

Latents are split into four groups of channels, positions into cells of 2 x 2, and in each
of four steps every group decodes another position of each cell. So half of a latent's
neighbours are known from the second step on, and three network passes decode an image of
any size (Li et al. 2023, https://arxiv.org/abs/2302.14402, DCVC-DC).

The context refines means alone. They are floating point numbers, and reach no table:
every row comes from the hyper latents by integer arithmetic, so that a single call of the
range coder reads all symbols, and these are the same on every device. Floating point
errors reach only the picture, by an ulp.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from codec_jax import ops
from codec_jax.blocks import Dense, DepthConvBlock, depth_to_space, space_to_depth
from codec_jax.coding import range_coder, tables
from codec_jax.coding.tables import Tables
from codec_jax.entropy import factorized, gaussian_conditional
from codec_jax.entropy.factorized import Factorized
from codec_jax.inference import programs, tiling
from codec_jax.inference.tiling import Tiles
from codec_jax.latents import integer
from codec_jax.latents.contract import (
    Frozen,
    Integers,
    Latents,
    Quantized,
    channels,
    check_length,
    check_rows,
)
from codec_jax.latents.hyperprior import SIDES, WINDOW, SideInformation
from codec_jax.latents.quantizer import Quantizer
from codec_jax.layers import Cells, cropped

STEPS = 4
# Position in a cell of 2 x 2 (row, column) that each group of channels decodes in each
# step: every position is decoded once in each group, and in each step by some group.
ORDER = (
    ((0, 0), (0, 1), (1, 0), (1, 1)),
    ((1, 1), (1, 0), (0, 1), (0, 0)),
    ((1, 0), (1, 1), (0, 0), (0, 1)),
    ((0, 1), (0, 0), (1, 1), (1, 0)),
)
# The receptive field of the means reaches 7 latents in the hyper-synthesis, and 4 in each
# of three steps.
_MEANS_REACH = 7 + 4 * (STEPS - 1)
# Of a symbol: float32 still tells integers apart.
_LARGEST_SYMBOL = 2**23


class HyperAnalysis(nn.Module):
    """Latents to hyper latents of 1/4 the size, before rounding.

    Attributes:
      filters: channels of the hyper latents.
    """

    filters: int

    margin = 2

    @nn.compact
    def __call__(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n _h _w c"]:
        """Hyper latents, float32, of which `cells` are there."""
        c = self.filters
        x = DepthConvBlock(c, name="block_0")(y, cells, 4)
        x = Dense(c, name="down_0")(space_to_depth(x, 2))
        x = DepthConvBlock(c, name="block_1")(x, cells, 2)
        x = Dense(c, name="down_1")(space_to_depth(x, 2))
        x = DepthConvBlock(c, name="block_2")(x, cells, 1)
        return Dense(c, exact=True, name="out")(x)


class HyperSynthesis(nn.Module):
    """Rounded hyper latents to features at the latents' size.

    Attributes:
      filters: channels of the hyper latents.
      latents: channels of the latents.
    """

    filters: int
    latents: int

    @nn.compact
    def __call__(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> Float[Array, "n 4*h 4*w f"]:
        """Features of twice the latents' channels; of z `cells` are there."""
        c, m = self.filters, self.latents
        x = z
        for k, scale in enumerate((2, 4)):
            x = depth_to_space(Dense(4 * c, name=f"up_{k}")(x), 2)
            x = DepthConvBlock(c, name=f"block_{k}")(x, cells, scale)
        x = DepthConvBlock(m, name="block_2")(x, cells, 4)
        for k in range(3):
            x = DepthConvBlock(2 * m, name=f"fusion_{k}")(x, cells, 4)
        return x


class Context(nn.Module):
    """Means of a step from the latents decoded before it.

    Attributes:
      latents: their channels.
    """

    latents: int

    def setup(self) -> None:
        """The first block belongs to a step, all others serve every step."""
        m = self.latents
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


class QuadtreeLatents(SideInformation):
    """See the module.

    Attributes:
      latents: channels (M), a multiple of four.
      filters: channels of the hyper latents.
      hyper_analysis_transform: latents -> hyper latents before rounding.
      hyper_synthesis_transform: hyper latents -> features of means.
      rates: how many, each with a prior of the hyper latents.
      use_context: whether latents are predicted from those of earlier steps; without it
        all means come from the hyper latents.
      compute: precision of activations; sums of likelihoods and latents are float32.
    """

    hyper_synthesis_transform: nn.Module
    rates: int
    use_context: bool = True
    compute: Any = jnp.float32

    strings_per_file = 2
    stride = 4

    def setup(self) -> None:
        """All networks."""
        self.first_means = Dense(self.latents, exact=True)
        self.scale_synthesis = self._scale_synthesis()
        self.prior = Factorized(self.filters)
        if self.use_context:
            self.context = Context(self.latents)
        shape = self.rates, self.filters
        zeros = nn.initializers.zeros
        self.prior_log_scale = self.param("prior_log_scale", zeros, shape)
        self.prior_shift = self.param("prior_shift", zeros, shape)

    @nn.nowrap
    def _scale_synthesis(self) -> integer.IntegerHyperSynthesis:
        return integer.IntegerHyperSynthesis(self.latents, means=False)

    def hyper_analysis(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n _h _w c"]:
        """Hyper latents of ceil(h / 4) by ceil(w / 4), before they are rounded."""
        return super().hyper_analysis(_compressed(y).astype(self.compute), cells)

    def rows(self, z: Float[Array, "n h w c"]) -> Float[Array, "n 4*h 4*w m"]:
        """Indexes of scales, integers 0 to 63, from integer hyper latents."""
        return self.scale_synthesis(z)[0]

    def hyper_synthesis(
        self, z: Int[Array, "n h w c"] | Float[Array, "n h w c"], cells: Any = None
    ) -> Float[Array, "n 4*h 4*w f"]:
        """Features that means are computed from, from rounded hyper latents."""
        z = _compressed(z.astype(jnp.float32)).astype(self.compute)
        return self.hyper_synthesis_transform(z, cells)

    def log_prior(
        self, z: Float[Array, "n h w c"], rate: Float[Array, " n"]
    ) -> Float[Array, "n h w c"]:
        """log2 P(z) under the prior of the nearest of the trained rates."""
        nearest = jnp.round(rate).astype(jnp.int32)
        scale = jnp.exp(self.prior_log_scale[nearest])[:, None, None]
        shift = self.prior_shift[nearest][:, None, None]
        return self.prior.scaled(z, scale, shift) / np.float32(np.log(2))

    def refined(
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
        if not self.use_context:
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

    def predicted(self, z: Float[Array, "n h w c"], y: Array) -> tuple[Array, Array]:
        """Indexes of scales and means of latents that are y plus their means."""
        features = cropped(self.hyper_synthesis(z), y)
        means, _ = self.refined(features, lambda means: y + means)
        return cropped(self.rows(z), y), means

    def __call__(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        quantizer: Quantizer,
    ) -> Quantized:
        """See `LatentCodec`; the context sees rounded latents, with the gradient of y."""
        of_y, of_z = quantizer.split()
        z = self.hyper_analysis(y)
        z_hat = ops.round_straight_through(z)
        features = cropped(self.hyper_synthesis(z_hat), y)
        index = cropped(self.rows(z_hat), y)

        def decode(means: Array) -> Array:
            return ops.round_straight_through(y - means) + means

        means, y_hat = self.refined(features, decode)
        v = y - means
        noisy, _ = of_y(v)
        noisy_z, _ = of_z(z)
        hyper_bits = of_z.bits(self.log_prior, z, noisy_z, rate)
        bits = hyper_bits + of_y.bits(gaussian_conditional.log2_mass, v, noisy, index)
        return Quantized(y_hat, bits, hyper_bits)

    @nn.nowrap
    def coded_rows(
        self, frozen: tuple[integer.Layer, ...], z: Int[Array, "n h w c"], cells: Cells
    ) -> Int[Array, "n 4*h 4*w m"]:
        """Rows of tables, as both sides compute them."""
        return integer.parameters(z, list(frozen), self.latents, cells)[0]

    def encoded(
        self,
        frozen: tuple[integer.Layer, ...],
        z: Int[Array, "n h w c"],
        y: Float[Array, "n _h _w m"],
        cells: Cells,
        size: Cells,
    ) -> tuple[Array, Array, Array]:
        """Symbols, rows of their tables and means, of a window.

        Args:
          frozen: the integer network.
          z: rounded hyper latents, of which `cells` are there.
          y: latents, of which `size` are there.
          cells, size: rows and columns.
        """
        rows = self.coded_rows(frozen, z, cells)
        means, _ = self.refined(
            self.hyper_synthesis(z, cells),
            lambda means: jnp.round(y - means) + means,
            size,
        )
        bound = np.float32(_LARGEST_SYMBOL)
        symbols = jnp.clip(jnp.round(y - means), -bound, bound).astype(jnp.int32)
        return symbols, rows, means

    def decoded(
        self,
        z: Int[Array, "n h w c"],
        symbols: Int[Array, "n _h _w m"],
        cells: Cells,
        size: Cells,
    ) -> Float[Array, "n _h _w m"]:
        """Means of symbols of a window; arguments as for `encoded`."""
        whole = symbols.astype(jnp.float32)
        features = self.hyper_synthesis(z, cells)
        return self.refined(features, lambda means: whole + means, size)[0]

    @nn.nowrap
    def quantized(
        self,
        frozen: Frozen,
        y: Float[np.ndarray, "h w m"],
        rate: float,
        with_means: bool = True,
    ) -> Latents:
        """See `LatentCodec`."""
        del rate
        hyper = self.hyper_latents(frozen, y)
        symbols, rows = np.empty(y.shape, np.int32), np.empty(y.shape, np.int32)
        means = np.empty(y.shape if with_means else (0, 0, 0), np.float32)
        for window in windows(hyper.shape, y.shape):
            z, part = hyper[window.z], y[window.y]
            arguments = _filled(z, 1), _filled(part, self.stride), _size(z), _size(part)
            layers = frozen.integers.layers
            found = programs.on_one(self, "encoded", frozen.params, layers, *arguments)
            symbols[window.target] = found[0][window.kept]
            rows[window.target] = found[1][window.kept]
            if with_means:
                means[window.target] = found[2][window.kept]
        return Latents(symbols, rows, means, hyper)

    @nn.nowrap
    def _hyper_rows(
        self, shape: tuple[int, ...], rate: float
    ) -> Int32[np.ndarray, "h w c"]:
        """Rows of the tables of hyper latents: those of the nearest trained rate."""
        return channels(shape) + np.int32(int(np.rint(rate)) * self.filters)

    @nn.nowrap
    def parsed(
        self,
        frozen: Frozen,
        strings: tuple[bytes, ...],
        size: tuple[int, int],
        rate: float,
    ) -> Latents:
        """See `LatentCodec`."""
        hyper = self._parsed_hyper(frozen, strings, size, rate)
        scale_tables = frozen.integers.scale_tables
        assert scale_tables is not None
        rows = np.empty((*size, self.latents), np.int32)
        taken = 0.0
        for window in windows(hyper.shape, rows.shape):
            z = hyper[window.z]
            of_window = frozen.integers.layers, _filled(z, 1), _size(z)
            found = programs.on_one(self, "coded_rows", {}, *of_window)
            rows[window.target] = found[window.kept]
            # Memory is in use from here on, as far as the second string reaches.
            taken += float(scale_tables.least_bits[found[window.kept]].sum())
            check_length(strings[1], taken)
        symbols = range_coder.decode(strings[1], rows, scale_tables)
        means = np.empty(rows.shape, np.float32)
        for window in windows(hyper.shape, rows.shape):
            z, part = hyper[window.z], symbols[window.y]
            arguments = _filled(z, 1), _filled(part, self.stride), _size(z), _size(part)
            found = programs.on_one(self, "decoded", frozen.params, *arguments)
            means[window.target] = found[window.kept]
        return Latents(symbols, rows, means, hyper)

    @nn.nowrap
    def freeze(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], Integers]:
        """See `LatentCodec`."""
        rest = dict(params)
        layers = self._scale_synthesis().freeze(rest.pop("scale_synthesis"))
        scales = gaussian_conditional.make_tables()
        return rest, Integers(layers, self._hyper_tables(rest), scales)

    @nn.nowrap
    def _hyper_tables(self, params: Mapping[str, Any]) -> Tables:
        """For each rate in turn one for each channel of the hyper latents."""
        prior = Factorized(self.filters)
        made = []
        for row in range(self.rates):
            scale = jnp.exp(params["prior_log_scale"][row])
            shift = params["prior_shift"][row]
            folded = factorized.folded(params["prior"], scale, shift)
            made.append(factorized.make_tables(folded, prior))
        return tables.joined(made)

    @property
    def integer_networks(self) -> tuple[str, ...]:
        """See `LatentCodec`."""
        return ("scale_synthesis",)

    @nn.nowrap
    def thaw(self, integers: Integers) -> dict[str, Any]:
        """See `LatentCodec`."""
        return {"scale_synthesis": self._scale_synthesis().thaw(integers.layers)}

    @nn.nowrap
    def check(self, integers: Integers) -> None:
        """See `LatentCodec`."""
        self._scale_synthesis().check(integers.layers, self.filters)
        check_rows(integers, self.rates * self.filters, gaussian_conditional.COUNT)


class Window(NamedTuple):
    """A part of an image's latents, and what of it is kept.

    Attributes:
      z: rows and columns of the hyper latents.
      y: rows and columns of the latents.
      kept: rows and columns inside of the window.
      target: and their place in the image.
    """

    z: tuple[slice, slice]
    y: tuple[slice, slice]
    kept: tuple[slice, slice]
    target: tuple[slice, slice]


_STRIDE = QuadtreeLatents.stride
_TILES = Tiles(WINDOW, -(-_MEANS_REACH // _STRIDE), SIDES)


def windows(hyper: tuple[int, ...], latents: tuple[int, ...]) -> Iterator[Window]:
    """Windows of hyper latents with the latents that belong to them."""
    sides = latents[:2]
    for spans in tiling.windows(hyper[0], hyper[1], _TILES.window, _TILES.margin):
        z = tuple(slice(span.start, span.end) for span in spans)
        y = tuple(
            slice(_STRIDE * span.start, min(_STRIDE * span.end, side))
            for span, side in zip(spans, sides, strict=True)
        )
        target = tuple(
            slice(_STRIDE * span.first, min(_STRIDE * span.last, side))
            for span, side in zip(spans, sides, strict=True)
        )
        kept = tuple(
            slice(place.start - whole.start, place.stop - whole.start)
            for place, whole in zip(target, y, strict=True)
        )
        yield Window(z, y, kept, target)  # type: ignore[arg-type]


def _filled(part: np.ndarray, stride: int) -> np.ndarray:
    """With zeros up to a side of the tiles, as a batch of one."""
    more = [
        (0, stride * _TILES.side(-(-side // stride)) - side) for side in part.shape[:2]
    ]
    return np.pad(part, [*more, (0, 0)])[None]


def _size(x: np.ndarray) -> tuple[np.int32, np.int32]:
    return tiling.counts((x.shape[0], x.shape[1]))


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
