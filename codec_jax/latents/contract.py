"""What a latent codec is: latents to bits in training, to strings in a file and back."""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, Int32

from codec_jax.coding.tables import Tables
from codec_jax.latents import integer
from codec_jax.latents.quantizer import Quantizer

# Beyond this a latent is clipped; nothing near it comes from an image.
LARGEST_SYMBOL = 2**28
# Bytes by which a string may be shorter than its symbols take. It is a number whose last
# zeros are not written, and where few symbols repeat, the number may be a round one.
# Where all of it is zeros, they are written.
_ROUND_NUMBERS, _ZEROS = 4096, 8


class Quantized(NamedTuple):
    """Latents after quantisation.

    Attributes:
      y_hat: what the synthesis sees, (n, h, w, m).
      bits: of an image, (n,), side information included.
      hyper_bits: of the side information alone, (n,).
    """

    y_hat: Float[Array, "n h w m"]
    bits: Float[Array, " n"]
    hyper_bits: Float[Array, " n"]


class Integers(NamedTuple):
    """What sender and receiver share besides weights, and made once, by `freeze`.

    Attributes:
      layers: an integer network; empty if there is none.
      tables: of the factorized prior.
      scale_tables: one for each of the 64 scales; None without a hyperprior.
    """

    layers: tuple[integer.Layer, ...]
    tables: Tables
    scale_tables: Tables | None


class Frozen(NamedTuple):
    """All that coding reads.

    Attributes:
      params: of the codec's networks, without those of an integer network.
      integers: see there.
    """

    params: Any
    integers: Integers


class Latents(NamedTuple):
    """What is coded of an image.

    Attributes:
      symbols: rounded latents minus their means, int32 (h, w, m).
      rows: of the tables that code them, the same shape.
      means: float32, the same shape.
      hyper: rounded hyper latents, int32 (h', w', c); None without a hyperprior.
    """

    symbols: Int32[np.ndarray, "h w m"]
    rows: Int32[np.ndarray, "h w m"]
    means: Float[np.ndarray, "h w m"]
    hyper: Int32[np.ndarray, "h2 w2 c"] | None

    def values(self) -> Float[np.ndarray, "h w m"]:
        """Dequantised latents, in the place of the means."""
        return np.add(
            self.symbols, self.means, out=self.means, dtype=np.float32, casting="unsafe"
        )


class LatentCodec(nn.Module, abc.ABC):
    """An entropy model with its networks, if it has any, and its way into a file.

    A module is hashable and holds no weights. Its parameters stand next to those of the
    transforms, under the same names whatever composes them.

    Attributes of every kind:
      latents: channels of the latents (M).
      stride: latents between two elements of the side information, in each direction; 1
        without any. Images are filled up to whole ones.
      strings_per_file: how many `strings` gives.
    """

    @abc.abstractmethod
    def __call__(
        self,
        y: Float[Array, "n h w m"],
        rate: Float[Array, " n"],
        quantizer: Quantizer,
    ) -> Quantized:
        """Latents quantised, and the bits that they take.

        Args:
          y: latents, scaled for the rate.
          rate: position in the codec's `lambdas`.
          quantizer: rounds, or replaces rounding.
        """

    @abc.abstractmethod
    def quantized(
        self,
        frozen: Frozen,
        y: Float[np.ndarray, "h w m"],
        rate: float,
        with_means: bool = True,
    ) -> Latents:
        """What is coded of latents.

        Args:
          frozen: weights, tables and integers.
          y: latents of one image, scaled for the rate.
          rate: position in the codec's `lambdas`.
          with_means: who only writes files needs no means, and they take much room.
        """

    @abc.abstractmethod
    def strings(
        self, frozen: Frozen, latents: Latents, rate: float
    ) -> tuple[bytes, ...]:
        """The strings of a file."""

    @abc.abstractmethod
    def parsed(
        self,
        frozen: Frozen,
        strings: tuple[bytes, ...],
        size: tuple[int, int],
        rate: float,
    ) -> Latents:
        """What strings hold: the inverse of `strings`.

        Cheap checks come first, since anything may be in the strings.

        Args:
          frozen: weights, tables and integers.
          strings: as many as `strings_per_file`.
          size: rows and columns of latents.
          rate: position in the codec's `lambdas`.

        Raises:
          ValueError: they are damaged, or too short for so many symbols.
        """

    @abc.abstractmethod
    def freeze(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], Integers]:
        """Integers made of trained parameters, and the parameters that are left.

        Raises:
          ValueError: they do not fit the integers.
        """

    @abc.abstractmethod
    def check(self, integers: Integers) -> None:
        """Raises ValueError for tables or layers of another architecture."""

    @property
    def integer_networks(self) -> tuple[str, ...]:
        """Top-level names of parameters that `freeze` makes integers of."""
        return ()

    def thaw(self, integers: Integers) -> dict[str, Any]:
        """The parameters that `freeze` made integers of, with the integers' values."""
        del integers
        return {}

    def hyper_analysis(
        self, y: Float[Array, "n h w m"], cells: Any = None
    ) -> Float[Array, "n h2 w2 c"] | None:
        """The side information before it is rounded; None where there is none."""
        del y, cells
        return None

    def predicted(self, z: Any, y: Float[Array, "n h w m"]) -> Any:
        """What both sides compute of side information and decoded latents."""
        del z, y
        return ()


def channels(shape: tuple[int, ...]) -> Int32[np.ndarray, "h w c"]:
    """The number of the channel of each element: the rows of a factorized prior."""
    return np.broadcast_to(np.arange(shape[2], dtype=np.int32), shape)


def whole_numbers(x: Float[np.ndarray, "*s"]) -> Int32[np.ndarray, "*s"]:
    """Rounded, and clipped to what tables can code."""
    return np.clip(np.rint(x), -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)


def check_length(data: bytes, bits: float) -> None:
    """Raises ValueError if symbols that take so many bits cannot be in a string."""
    slack = _ROUND_NUMBERS if data.strip(b"\0") else _ZEROS
    if 8 * (len(data) + slack) < bits:
        raise ValueError(
            f"the file is damaged: a string of {len(data)} bytes, of symbols that take "
            f"{int(bits / 8)} at least"
        )


def check_rows(integers: Integers, tables: int, scales: int | None) -> None:
    """Raises ValueError for another number of tables than an architecture has."""
    of_scales = integers.scale_tables
    found = len(integers.tables.cdf), None if of_scales is None else len(of_scales.cdf)
    if found != (tables, scales):
        raise ValueError(
            f"tables: expected the shapes {(tables, scales)}, found {found}"
        )
