"""Latents under a factorized prior: each channel has one distribution.

Source: Ballé, Laparra & Simoncelli 2017, https://arxiv.org/abs/1611.01704.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, Int32

from codec_jax import ops
from codec_jax.coding import range_coder
from codec_jax.entropy import factorized
from codec_jax.entropy.factorized import Factorized
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
from codec_jax.latents.quantizer import Quantizer


class FactorizedLatents(LatentCodec):
    """See the module.

    Attributes:
      latents: channels (M).
      filters: hidden widths of the prior, see `entropy.factorized`.
      offsets: whether a learned number for each channel is added to the integers, before
        the synthesis reads them, as CompressAI's medians.
      dither: levels of universal quantisation; 0: latents are rounded.
    """

    latents: int
    filters: tuple[int, ...] = (3, 3)
    offsets: bool = False
    dither: int = 0

    stride = 1
    strings_per_file = 1

    def setup(self) -> None:
        """The prior, and offsets if there are any."""
        self.prior = Factorized(self.latents, self.filters)
        if self.offsets:
            self.offset = factorized.offset_parameter(self, self.latents)

    def log_prior(self, y: Float[Array, "n h w m"]) -> Float[Array, "n h w m"]:
        """log2 P of latents."""
        return self.prior(y) / np.float32(np.log(2))

    def __call__(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        quantizer: Quantizer,
    ) -> Quantized:
        """See `LatentCodec`."""
        del rate  # the prior is that of all rates
        quantizer, _ = quantizer.split()
        noisy, seen = quantizer(y, self.dither)
        bits = quantizer.bits(self.log_prior, y, noisy)
        if self.offsets:
            seen = seen + ops.aligned(self.offset.astype(seen.dtype), seen)
        return Quantized(seen, bits, 0 * bits)

    @nn.nowrap
    def quantized(
        self,
        frozen: Frozen,
        y: Float[np.ndarray, "h w m"],
        rate: float,
        with_means: bool = True,
    ) -> Latents:
        """See `LatentCodec`."""
        del rate, with_means
        rows, means = self._rows(frozen, y.shape)
        symbols = whole_numbers(y - self._dither_offsets(y.shape))
        return Latents(symbols, rows, means, None)

    @nn.nowrap
    def strings(
        self, frozen: Frozen, latents: Latents, rate: float
    ) -> tuple[bytes, ...]:
        """See `LatentCodec`."""
        del rate
        tables = frozen.integers.tables
        return (range_coder.encode(latents.symbols, latents.rows, tables),)

    @nn.nowrap
    def parsed(
        self,
        frozen: Frozen,
        strings: tuple[bytes, ...],
        size: tuple[int, int],
        rate: float,
    ) -> Latents:
        """See `LatentCodec`."""
        del rate
        tables = frozen.integers.tables
        by_channel = tables.least_bits.reshape(-1, max(self.dither, 1))
        least = float(by_channel.min(axis=1).sum())
        check_length(strings[0], least * size[0] * size[1])
        rows, means = self._rows(frozen, (*size, self.latents))
        symbols = range_coder.decode(strings[0], rows, tables)
        return Latents(symbols, rows, means, None)

    @nn.nowrap
    def _dither_offsets(self, shape: tuple[int, ...]) -> Float[np.ndarray, "h w m"]:
        levels = levels_of(shape, self.dither)
        if levels is None:
            return np.zeros(shape, np.float32)
        return ops.dither_offsets(self.dither)[levels]

    @nn.nowrap
    def _rows(
        self, frozen: Frozen, shape: tuple[int, ...]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables, and what is added to symbols."""
        rows, means = channels(shape), np.zeros(shape, np.float32)
        if self.offsets:
            means = means + np.asarray(frozen.params["offset"], np.float32)
        return dithered(rows, means, levels_of(shape, self.dither), self.dither)

    @nn.nowrap
    def freeze(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], Integers]:
        """See `LatentCodec`."""
        prior = Factorized(self.latents, self.filters)
        tables = factorized.make_tables(params["prior"], prior, dither=self.dither)
        return dict(params), Integers((), tables, None)

    @nn.nowrap
    def check(self, integers: Integers) -> None:
        """See `LatentCodec`."""
        if integers.layers:
            raise ValueError("layers: expected none without a hyper-synthesis")
        check_rows(integers, self.latents * max(self.dither, 1), None)
