"""Latents under a hyperprior: a normal distribution each, from side information.

    z = hyper_analysis(y); (index, mean) = hyper_synthesis(round(z))
    y_hat = round(y - mean) + mean

z are the hyper latents, coded by a factorized prior; `index` chooses one of the 64 scales
of `entropy.gaussian_conditional`. Sources: Ballé et al. 2018,
https://arxiv.org/abs/1802.01436 (scales), Minnen et al. 2018,
https://arxiv.org/abs/1809.02736 (means as well).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from codec_jax import layers, ops
from codec_jax.coding import range_coder
from codec_jax.entropy import factorized, gaussian_conditional
from codec_jax.entropy.factorized import Factorized
from codec_jax.inference import programs, tiling
from codec_jax.inference.tiling import Tiles
from codec_jax.latents import integer
from codec_jax.latents.contract import (
    Frozen,
    Integers,
    LatentCodec,
    Latents,
    Quantized,
    channels,
    check_length,
    check_rows,
    whole_numbers,
)
from codec_jax.latents.dither import dithered, levels_of
from codec_jax.latents.integer import IntegerHyperSynthesis
from codec_jax.latents.quantizer import Quantizer
from codec_jax.layers import Cells, cropped, padded

# Sides of windows, in hyper latents: a program is compiled for each pair.
SIDES = (1, 2, 4, 8, 12, 16, 32)
WINDOW = 32


@runtime_checkable
class HyperSynthesis(Protocol):
    """A module from hyper latents to distributions.

    Attributes:
      stride: latents for each hyper latent, in each direction.
      margin: hyper latents that its receptive field reaches.
    """

    stride: int
    margin: int

    def __call__(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> tuple[Float[Array, "n h2 w2 m"], Float[Array, "n h2 w2 m"]]:
        """Indexes of scales, and means, with gradients."""

    def coded(
        self,
        frozen: tuple[integer.Layer, ...],
        z: Int[Array, "n h w c"],
        cells: Cells | None = None,
    ) -> tuple[Int[Array, "n h2 w2 m"], Float[Array, "n h2 w2 m"]]:
        """Rows of tables, and means, as sender and receiver compute them."""

    def freeze(self, params: Any) -> tuple[integer.Layer, ...]:
        """Integers made of parameters; () where parameters stay as they are."""

    def thaw(self, frozen: tuple[integer.Layer, ...]) -> Any:
        """The inverse of `freeze`."""

    def check(self, frozen: tuple[integer.Layer, ...], inputs: int) -> None:
        """Raises ValueError for integers of another network."""


class _Piece(NamedTuple):
    """Of the latents in `[rows, columns]`: their tables, and means."""

    rows: slice
    columns: slice
    tables: Int32[np.ndarray, "h w m"]
    means: Float[np.ndarray, "h w m"]


class SideInformation(LatentCodec):
    """Kinds whose files hold two strings: hyper latents, then latents.

    Attributes:
      latents: channels of the latents (M).
      filters: channels of the hyper latents.
      hyper_analysis_transform: latents -> hyper latents before rounding, with a `margin`,
        the hyper latents that its receptive field reaches.
    """

    latents: int
    filters: int
    hyper_analysis_transform: nn.Module

    strings_per_file = 2

    def hyper_analysis(
        self, y: Float[Array, "n h w m"], cells: Cells | None = None
    ) -> Float[Array, "n h2 w2 c"]:
        """Hyper latents of ceil(h / 4) by ceil(w / 4), before they are rounded.

        Args:
          y: latents.
          cells: rows and columns of hyper latents, if there are fewer.
        """
        return self.hyper_analysis_transform(padded(y, self.stride), cells)

    @nn.nowrap
    def hyper_latents(
        self, frozen: Frozen, y: Float[np.ndarray, "h w m"]
    ) -> Int32[np.ndarray, "h2 w2 c"]:
        """Rounded hyper latents of an image, window by window."""

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            counted = tiling.counts(cells)
            arguments = frozen.params, part[None], counted
            return (programs.on_one(self, "hyper_analysis", *arguments),)

        tiles = self._tiles(self.hyper_analysis_transform.margin)
        (z,) = tiling.in_tiles(transform, y, (self.stride, 1), tiles)
        return whole_numbers(z)

    @nn.nowrap
    def _tiles(self, margin: int) -> Tiles:
        return Tiles(WINDOW, margin, SIDES)

    @nn.nowrap
    def strings(
        self, frozen: Frozen, latents: Latents, rate: float
    ) -> tuple[bytes, ...]:
        """See `LatentCodec`."""
        _, tables, scale_tables = frozen.integers
        assert latents.hyper is not None
        assert scale_tables is not None
        hyper_rows = self._hyper_rows(latents.hyper.shape, rate)
        return (
            range_coder.encode(latents.hyper, hyper_rows, tables),
            range_coder.encode(latents.symbols, latents.rows, scale_tables),
        )

    @nn.nowrap
    def _hyper_rows(
        self, shape: tuple[int, ...], rate: float
    ) -> Int32[np.ndarray, "h w c"]:
        """Rows of the tables of hyper latents."""
        del rate  # the tables are those of all rates
        return channels(shape)

    @nn.nowrap
    def _parsed_hyper(
        self,
        frozen: Frozen,
        strings: tuple[bytes, ...],
        size: tuple[int, int],
        rate: float,
    ) -> Int32[np.ndarray, "h w c"]:
        """Hyper latents of a file, after checks of what both strings' lengths allow."""
        _, tables, scale_tables = frozen.integers
        assert scale_tables is not None
        h, w = (-(-side // self.stride) for side in size)
        one = self._hyper_rows((1, 1, self.filters), rate)
        check_length(strings[0], float(tables.least_bits[one].sum()) * h * w)
        least = scale_tables.least_bits.min()
        check_length(strings[1], least * size[0] * size[1] * self.latents)
        rows = self._hyper_rows((h, w, self.filters), rate)
        return range_coder.decode(strings[0], rows, tables)


class HyperpriorLatents(SideInformation):
    """See the module.

    Attributes:
      latents: channels (M).
      filters: channels of the hyper latents.
      hyper_analysis_transform: latents -> hyper latents before rounding.
      hyper_synthesis_transform: a `HyperSynthesis`.
      prior_filters: hidden widths of the prior of hyper latents.
      offsets: whether a learned number for each channel is added to the integers of the
        hyper latents, as CompressAI's medians.
      dither: levels of universal quantisation of latents; 0: they are rounded.
    """

    hyper_synthesis_transform: nn.Module
    prior_filters: tuple[int, ...] = (3, 3)
    offsets: bool = False
    dither: int = 0

    def setup(self) -> None:
        """The prior, and offsets if there are any."""
        self.prior = Factorized(self.filters, self.prior_filters)
        if self.offsets:
            self.offset = factorized.offset_parameter(self, self.filters)

    @property
    def stride(self) -> int:
        """Latents between two hyper latents."""
        return self.hyper_synthesis_transform.stride

    def hyper_synthesis(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes of scales and means, from rounded hyper latents; `cells` as above."""
        return self.hyper_synthesis_transform(self._with_offset(z), cells)

    def coded(
        self,
        frozen: tuple[integer.Layer, ...],
        z: Int[Array, "n h w c"],
        cells: Cells | None = None,
    ) -> tuple[Int[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Rows of tables, and means, as both sides compute them."""
        z = self._with_offset(z) if self.offsets else z
        return self.hyper_synthesis_transform.coded(frozen, z, cells)

    def log_prior(self, z: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """log2 P of hyper latents."""
        return self.prior(z) / np.float32(np.log(2))

    def predicted(self, z: Float[Array, "n h w c"], y: Array) -> tuple[Array, Array]:
        """Indexes of scales and means of latents with the size of y."""
        index, mean = self.hyper_synthesis(z)
        return cropped(index, y), cropped(mean, y)

    def _with_offset(self, z: Array) -> Float[Array, "n h w c"]:
        z = z.astype(jnp.float32)
        return z + ops.aligned(self.offset, z) if self.offsets else z

    def __call__(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        quantizer: Quantizer,
    ) -> Quantized:
        """See `LatentCodec`."""
        del rate  # the priors are those of all rates
        of_y, of_z = quantizer.split()
        z = self.hyper_analysis(y)
        noisy_z, _ = of_z(z)
        # The hyper-synthesis always sees integers: those of `integer` are all it takes.
        index, mean = self.predicted(ops.round_straight_through(z), y)
        v = y - mean
        noisy, seen = of_y(v, self.dither)
        hyper_bits = of_z.bits(self.log_prior, z, noisy_z)
        bits = hyper_bits + of_y.bits(gaussian_conditional.log2_mass, v, noisy, index)
        return Quantized(seen + mean, bits, hyper_bits)

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
        for piece in self._pieces(frozen, hyper, y.shape[:2]):
            place = piece.rows, piece.columns
            symbols[place] = whole_numbers(y[place] - piece.means)
            rows[place] = piece.tables
            if with_means:
                means[place] = piece.means
        return Latents(symbols, rows, means, hyper)

    @nn.nowrap
    def distributions(
        self, frozen: Frozen, hyper: Int32[np.ndarray, "h w c"], size: tuple[int, ...]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables and means of all latents of an image."""
        rows = np.empty((*size, self.latents), np.int32)
        means = np.empty(rows.shape, np.float32)
        for piece in self._pieces(frozen, hyper, size):
            rows[piece.rows, piece.columns] = piece.tables
            means[piece.rows, piece.columns] = piece.means
        return rows, means

    @nn.nowrap
    def _pieces(
        self, frozen: Frozen, hyper: Int32[np.ndarray, "h w c"], size: tuple[int, ...]
    ) -> Iterator[_Piece]:
        """Rows of tables and means of the latents of an image, window by window."""
        integers = frozen.integers.layers

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            arguments = integers, part[None], tiling.counts(cells)
            return programs.on_one(self, "coded", frozen.params, *arguments)

        h, w = size
        tiles = self._tiles(self.hyper_synthesis_transform.margin)
        levels = levels_of((h, w, self.latents), self.dither)
        cell = 1, self.stride
        for rows, columns, (tables, means) in tiling.pieces(
            tiling.bucketed(transform, cell, tiles),
            hyper,
            cell=cell,
            window=tiles.window,
            margin=tiles.margin,
        ):
            # The last hyper latents stand for more rows and columns than there are.
            tables = tables[: h - rows.start, : w - columns.start]
            means = means[: h - rows.start, : w - columns.start]
            here = None if levels is None else levels[rows, columns]
            yield _Piece(rows, columns, *dithered(tables, means, here, self.dither))

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
        means = np.empty(rows.shape, np.float32)
        least = 0.0
        for piece in self._pieces(frozen, hyper, size):
            # Memory is in use from here on, as far as the second string reaches.
            least += float(scale_tables.least_bits[piece.tables].sum())
            check_length(strings[1], least)
            rows[piece.rows, piece.columns] = piece.tables
            means[piece.rows, piece.columns] = piece.means
        symbols = range_coder.decode(strings[1], rows, scale_tables)
        return Latents(symbols, rows, means, hyper)

    @nn.nowrap
    def freeze(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], Integers]:
        """See `LatentCodec`."""
        rest = dict(params)
        name = "hyper_synthesis_transform"
        integers = self.hyper_synthesis_transform.freeze(rest[name])
        if integers:
            del rest[name]
        prior = Factorized(self.filters, self.prior_filters)
        tables = factorized.make_tables(rest["prior"], prior)
        scales = gaussian_conditional.make_tables(dither=self.dither)
        return rest, Integers(integers, tables, scales)

    @property
    def integer_networks(self) -> tuple[str, ...]:
        """See `LatentCodec`."""
        frozen = isinstance(self.hyper_synthesis_transform, IntegerHyperSynthesis)
        return ("hyper_synthesis_transform",) if frozen else ()

    @nn.nowrap
    def thaw(self, integers: Integers) -> dict[str, Any]:
        """See `LatentCodec`."""
        if not integers.layers:
            return {}
        thawed = self.hyper_synthesis_transform.thaw(integers.layers)
        return {"hyper_synthesis_transform": thawed}

    @nn.nowrap
    def check(self, integers: Integers) -> None:
        """See `LatentCodec`."""
        self.hyper_synthesis_transform.check(integers.layers, self.filters)
        scales = gaussian_conditional.COUNT * max(self.dither, 1)
        check_rows(integers, self.filters, scales)


class FloatHyperSynthesis(nn.Module):
    """Hyper latents to indexes of scales and means, in floating point.

    The indexes are not integers. They differ between devices in the last bits, so a file
    is only sure to be decoded by the device that wrote it: see `integer` for the other.

    Attributes:
      latents: channels of the latents (M).
      widths: outputs of each layer; the last has M for scales, and M more for means.
      activation: between layers, a key of `layers.ACTIVATIONS`.
    """

    latents: int
    widths: tuple[int, int, int]
    activation: str = "relu"

    stride = 4
    margin = layers.reach_up(((5, 2), (5, 2), (3, 1)))

    @nn.compact
    def __call__(
        self, z: Float[Array, "n h w c"], cells: Cells | None = None
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes and means; `cells`: hyper latents that there are, None: all."""
        activation = layers.ACTIVATIONS[self.activation]
        x = layers.zero_beyond(z, cells, 1)
        x = activation(layers.ConvUp(self.widths[0], 5, 2, name="conv_0")(x))
        x = layers.zero_beyond(x, cells, 2)
        x = activation(layers.ConvUp(self.widths[1], 5, 2, name="conv_1")(x))
        x = layers.zero_beyond(x, cells, 4)
        x = layers.ConvUp(self.widths[2], 3, 1, name="conv_2")(x)
        first, mean = x[..., : self.latents], x[..., self.latents :]
        if not mean.size:
            mean = jnp.zeros_like(first)
        return self.index(first), mean

    def index(self, first: Float[Array, "n h w m"]) -> Float[Array, "n h w m"]:
        """Positions in the table of scales: here the network's outputs, bounded."""
        bounded = ops.lower_bound(first, 0)
        return ops.upper_bound(bounded, gaussian_conditional.COUNT - 1)

    @nn.nowrap
    def rows(self, index: Float[Array, "n h w m"]) -> Int[Array, "n h w m"]:
        """Rows of the tables."""
        return jnp.round(index).astype(jnp.int32)

    def coded(
        self,
        frozen: tuple[integer.Layer, ...],
        z: Float[Array, "n h w c"],
        cells: Cells | None = None,
    ) -> tuple[Int[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """See `HyperSynthesis`."""
        del frozen
        index, mean = self(z.astype(jnp.float32), cells)
        return self.rows(index), mean

    @nn.nowrap
    def freeze(self, params: Any) -> tuple[integer.Layer, ...]:
        """See `HyperSynthesis`: parameters stay as they are."""
        del params
        return ()

    @nn.nowrap
    def thaw(self, frozen: tuple[integer.Layer, ...]) -> Any:
        """See `HyperSynthesis`; never called, since nothing is frozen."""
        raise NotImplementedError

    @nn.nowrap
    def check(self, frozen: tuple[integer.Layer, ...], inputs: int) -> None:
        """See `HyperSynthesis`."""
        del inputs
        if frozen:
            raise ValueError("layers: expected none, the hyper-synthesis has floats")


class ScaleHyperSynthesis(FloatHyperSynthesis):
    """The outputs are scales, as in CompressAI; rounded up to a table's to code."""

    rectified: bool = False  # whether scales pass a ReLU first

    def index(self, first: Float[Array, "n h w m"]) -> Float[Array, "n h w m"]:
        """Positions of the scales in the table, between integers."""
        first = jax.nn.relu(first) if self.rectified else first
        scale = ops.lower_bound(first, gaussian_conditional.SMALLEST)
        found = gaussian_conditional.index_of(scale)
        return jnp.clip(found, 0, gaussian_conditional.COUNT - 1)

    @nn.nowrap
    def rows(self, index: Float[Array, "n h w m"]) -> Int[Array, "n h w m"]:
        """Rows of the smallest scales that are not below these."""
        return gaussian_conditional.rounded_up(index)
