"""A trained codec: images to bytes and back.

    codec = codec_jax.load("qt256")
    data = codec.compress(image)      # uint8 (h, w, 3) -> bytes
    image = codec.decompress(data)    # bytes -> uint8 (h, w, 3)

`TrainedCodec` holds weights and the integers that sender and receiver share.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from codec_jax import image_files, ops
from codec_jax.coding import bitstream, range_coder
from codec_jax.coding.bitstream import Packet
from codec_jax.coding.tables import Tables
from codec_jax.entropy import gaussian_conditional
from codec_jax.inference import programs, target_rate, tiling
from codec_jax.inference.tiling import Tiles
from codec_jax.models import integer
from codec_jax.models.codec import Codec, cropped, rounded
from codec_jax.models.config import HYPER_STRIDE, STRIDE, CodecConfig
from pim_jax import metric

# Positions between two rates that a file can name.
RATE_STEPS = 256
# Of the transforms, in latents, and of the hyperprior's, in hyper latents: receptive
# fields reach less than 2 of them. A program is compiled for each pair of sides.
TILES = Tiles(window=64, margin=2, sides=(4, 8, 16, 32, 48, 64))
HYPER_TILES = Tiles(window=32, margin=2, sides=(1, 4, 8, 12, 16, 32))
# Pixels that a file may ask for: what its size alone cannot show. Pictures are filled up
# to whole cells, which makes many pixels of few where a picture is narrow: so many times
# the limit at most, or so many pixels where the limit is lower.
LARGEST_IMAGE = 2**27
_MOST_FILLED, _FEW_PIXELS = 2, 2**20
# Bytes by which a string may be shorter than what its symbols take. It is a number whose
# last zeros are not written, and where few symbols repeat, the number may be a round one.
# Where all of it is zeros, they are written.
_ROUND_NUMBERS, _ZEROS = 4096, 8
# Pixels that a search for a target decodes to choose where it looks closer, and before it
# says that there is no such rate; and the most places in either case.
_COARSE_SEARCH, _FINE_SEARCH, _MOST_PLACES = 2**20, 2**23, 128
# Beyond this a latent is clipped; nothing near it comes from an image.
_LARGEST_SYMBOL = 2**28

Progress = Callable[[str, float], None]
Rounding = Literal["nearest", "straight_through"]


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


class _Distributions(NamedTuple):
    """Of the latents in `[rows, columns]`: their tables, and means."""

    rows: slice
    columns: slice
    tables: Int32[np.ndarray, "h w m"]
    means: Float[np.ndarray, "h w m"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedCodec:
    """Weights, and the integers that sender and receiver share. Immutable.

    Attributes:
      name: a file names the codec that wrote it.
      config: the architecture.
      params: of `models.codec.Codec`; without those of an integer hyper-synthesis.
      layers: the integer hyper-synthesis; empty if the architecture has none.
      tables: of the factorized prior, one for each channel.
      scale_tables: one for each of the 64 scales; None without a hyperprior.

    Raises:
      ValueError: a name that no file can carry.
    """

    name: str
    config: CodecConfig
    params: Any
    layers: tuple[integer.Layer, ...]
    tables: Tables
    scale_tables: Tables | None

    def __post_init__(self) -> None:
        bitstream.check_name(self.name)

    def __repr__(self) -> str:
        """What tells it from others; its weights would fill pages."""
        return (
            f"TrainedCodec({self.name!r}, fingerprint {self.fingerprint.hex()}, prior "
            f"{self.config.prior!r}, filters {self.config.filters}, latents "
            f"{self.config.latents}, rates 0 to {len(self.config.lambdas) - 1})"
        )

    @property
    def description(self) -> str:
        """The architecture in a line."""
        chosen = dataclasses.asdict(self.config)
        return ", ".join(
            f"{key} {chosen[key]}"
            for key in ("transforms", "filters", "latents", "prior", "hyper")
        )

    @property
    def rates(self) -> tuple[float, ...]:
        """Values of `rate` that the codec was trained for, low to high."""
        return tuple(float(i) for i in range(len(self.config.lambdas)))

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """Four bytes that tell these weights and tables from others."""
        digest = hashlib.sha256(
            json.dumps(self._architecture(), sort_keys=True).encode()
        )
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()[:4]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name; weights in 16 bits where these hold them exactly."""
        found = self._weights()
        for number, layer in enumerate(self.layers):
            for field, array in layer._asdict().items():
                found[f"layers/{number}/{field}"] = array
        for prefix, tables in (("tables", self.tables), ("scales", self.scale_tables)):
            if tables is not None:
                for field, array in dataclasses.asdict(tables).items():
                    found[f"{prefix}/{field}"] = array
        return found

    def _architecture(self) -> dict[str, Any]:
        """As numbers and text, for the fingerprint."""
        return _not_default(self.config)

    def _weights(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        flat = flax.traverse_util.flatten_dict(self.params, sep="/")
        for name, leaf in sorted(flat.items()):
            found[f"params/{name}"] = _shortest(np.asarray(leaf, np.float32))
        return found

    def compress(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        rate: float | None = None,
        *,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        extras: Mapping[str, bytes] | None = None,
        progress: Progress = lambda stage, share: None,
    ) -> bytes:
        """An image as the bytes of a .cjx file (docs/format.md).

        Args:
          image: sRGB, of any size from 1x1.
          rate: position in `rates`, also between two; None is the middle. Any number
            will do, also an array of one. A file holds the nearest multiple of 1/256.
          target_bpp: in place of `rate`: the largest one with at most so many bits of
            the file for each pixel.
          target_psnr: in place of `rate`: the smallest one with at least this PSNR over
            RGB in dB, of a grey picture that of the grey one which is shown. Files and
            PSNR of flat and tiny pictures rise and fall with the rate: there rates are
            tried from the one end, 1/16 apart, and of larger pictures fewer, but all of
            `rates`.
          extras: side data of `image_files.extras_of`.
          progress: told what is being done and which share of it is.

        Raises:
          ValueError: no such image, rate or target; a target without `rates` to choose
            from, or out of the codec's reach.
        """
        self._check_image(image)
        given = {
            name: _number(name, value)
            for name, value in [
                ("rate", rate),
                ("target_bpp", target_bpp),
                ("target_psnr", target_psnr),
            ]
            if value is not None
        }
        if len(given) > 1:
            raise ValueError("give one of rate, target_bpp and target_psnr")
        size, extras = image.shape[:2], extras or {}
        if target_bpp is None and target_psnr is None:
            step = self._step(given.get("rate"))
            features = self._features(image, progress)
            latents = self._latents(features, step, False, progress)
            return self._packed(latents, step, size, extras)
        if self._last_step == 0:
            raise ValueError(f"{self.name} has a single rate: no target can be chosen")
        features = self._features(image, progress)

        @functools.cache  # the search for a target ends at a file that it has made
        def file(step: int) -> bytes:
            return self._packed(
                self._latents(features, step, False, progress), step, size, extras
            )

        @functools.cache
        def psnr(step: int) -> float:
            latents = self._latents(features, step, True, progress)
            shown = self._decoded(latents, step, size)
            if "grey" in extras:
                shown = image_files.picture_from(shown, {"grey": b""}).pixels
            return _psnr(image, shown)

        if target_bpp is not None:
            found = self._searched_bpp(file, given["target_bpp"], size)
        else:
            found = self._searched_psnr(psnr, given["target_psnr"], size)
        return file(found)

    def _searched_bpp(
        self, file: Callable[[int], bytes], target: float, size: tuple[int, ...]
    ) -> int:
        """The largest step with at most so many bits per pixel."""

        def bpp(step: int) -> float:
            return 8 * len(file(step)) / (size[0] * size[1])

        coarse, fine = self._places(size)
        found = target_rate.best_of(
            lambda step: bpp(step) <= target, coarse[::-1], fine[::-1]
        )
        if found is None:
            raise ValueError(
                f"target_bpp is {target}, but this image takes at least "
                f"{min(map(bpp, fine)):.4f} with {self.name}"
            )
        return found

    def _searched_psnr(
        self, psnr: Callable[[int], float], target: float, size: tuple[int, ...]
    ) -> int:
        """The smallest step with at least this PSNR."""
        coarse, fine = self._places(size)
        found = target_rate.best_of(lambda step: psnr(step) >= target, coarse, fine)
        if found is None:
            raise ValueError(
                f"target_psnr is {target} dB, but this image reaches at most "
                f"{max(map(psnr, fine)):.2f} with {self.name}"
            )
        return found

    def _places(self, size: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Steps that a search begins with: some, and more of them."""
        pixels = size[0] * size[1]
        return tuple(
            target_rate.grid(
                self._last_step, RATE_STEPS, min(budget // pixels, _MOST_PLACES)
            )
            for budget in (_COARSE_SEARCH, _FINE_SEARCH)
        )

    def decompress(
        self,
        data: bytes | bytearray | memoryview,
        *,
        largest_image: int = LARGEST_IMAGE,
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image of the bytes that `compress` returned.

        Args:
          data: a whole file. Anything may be in it.
          largest_image: pixels; a file that asks for more is refused, and one whose
            picture is so narrow that it is filled up to more than twice as many.
          progress: as for `compress`.

        Raises:
          ValueError: damaged, of another codec or version, or too large.
        """
        return self.decode(bitstream.unpack(data), largest_image, progress)

    def decode(
        self,
        packet: Packet,
        largest_image: int = LARGEST_IMAGE,
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """As `decompress`, of a file that has been unpacked."""
        if packet.model != self.name or packet.fingerprint != self.fingerprint:
            raise ValueError(
                f"written by codec {packet.model!r} {packet.fingerprint.hex()}, this is "
                f"{self.name!r} {self.fingerprint.hex()}"
            )
        self._check_area("the image has", packet.height, packet.width, largest_image)
        if packet.rate > self._last_step:
            raise ValueError(
                f"the file's rate is {packet.rate}, this codec's last {self._last_step}"
            )
        expected = 1 if self.scale_tables is None else 2
        if len(packet.strings) != expected:
            raise ValueError(
                f"the file has {len(packet.strings)} strings, expected {expected}"
            )
        size = packet.height, packet.width
        y = _values(self._parsed(packet.strings, size, packet.rate))
        return self._shown(y, packet.rate, size, progress)

    def reconstruct(
        self,
        images: Float[Array, "n h w 3"],
        rate: float | Float[Array, " n"] | None = None,
        *,
        rounding: Rounding = "nearest",
    ) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
        """Images after compression, and the bits that they take, without files.

        Pure, and may be called under `jit`. There no check can raise, and values and
        rates out of range are clipped, with a gradient that points back; NaN stays NaN.

        Rounding has a derivative of zero, and so have images and bits with respect to the
        input. In a loss, use `rounding="straight_through"`: the same images and bits,
        with the gradients as if nothing had been rounded.

        Args:
          images: floats in [0, 1].
          rate: as for `compress`, one for all or one for each.
          rounding: 'nearest', or 'straight_through' for useful gradients.

        Returns: images, in [0, 1] but not rounded to 8 bits, and -log2 of the
          probability of what would be coded, (n,).

        Raises:
          ValueError: another shape or dtype, an unknown rounding; outside of `jit` also
            values or rates out of range, or not finite.
        """
        images, rates = self._checked(images, rate, rounding)
        through = rounding == "straight_through"
        apply = functools.partial(programs.apply, self.config, self.params)
        whole = ops.round_straight_through if through else jnp.round
        y = apply(images, rates, method=Codec.analysis)
        if self.scale_tables is None:
            y_hat = rounded(y, self.config.dither) if self.config.dither else whole(y)
            log2 = apply(y_hat, method=Codec.log_prior)
            bits = -jnp.sum(log2, (1, 2, 3))
        else:
            z_hat = whole(apply(y, method=Codec.hyper_analysis))
            index, mean = (cropped(x, y) for x in self._predicted(z_hat, through))
            v = y - mean
            v = rounded(v, self.config.dither) if self.config.dither else whole(v)
            y_hat = v + mean
            log2 = apply(z_hat, method=Codec.log_prior)
            bits = -jnp.sum(log2, (1, 2, 3))
            bits = bits - jnp.sum(gaussian_conditional.log2_mass(v, index), (1, 2, 3))
        decoded = apply(y_hat, rates, method=Codec.synthesis)
        return jnp.clip(cropped(decoded, images), 0, 1), bits

    def _checked(
        self, images: Any, rate: Any, rounding: str
    ) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
        """Arguments of `reconstruct`: images within [0, 1], and a rate for each."""
        if rounding not in ("nearest", "straight_through"):
            raise ValueError(
                f"rounding: expected 'nearest' or 'straight_through', found {rounding!r}"
            )
        (images,) = metric.check_images(images)
        images = ops.upper_bound(ops.lower_bound(images, 0.0), 1.0)
        return images, self._checked_rates(rate, len(images))

    def _checked_rates(
        self, rate: float | Array | None, count: int
    ) -> Float[Array, " n"]:
        """Those that files would have: multiples of 1/256, within the range."""
        last = len(self.config.lambdas) - 1
        if rate is None:
            rate = self._step(None) / RATE_STEPS
        if isinstance(rate, str | bytes) or np.shape(rate) not in ((), (1,), (count,)):
            raise ValueError(
                f"rate: expected a number or {count} of them, found "
                f"{rate if isinstance(rate, str) else np.shape(rate)!r}"
            )
        if not isinstance(rate, jax.core.Tracer):
            for value in np.ravel(np.asarray(rate)):
                self._step(_number("rate", value))
        found = jnp.broadcast_to(jnp.asarray(rate, jnp.float32), (count,))
        found = ops.upper_bound(ops.lower_bound(found, 0.0), float(last))
        return ops.round_straight_through(found * RATE_STEPS) / RATE_STEPS

    def _predicted(
        self, z: Float[Array, "n h w c"], through: bool
    ) -> tuple[Float[Array, "n 4*h 4*w m"], Float[Array, "n 4*h 4*w m"]]:
        """Indexes of scales, and means; `through`: with gradients of the float network.

        Integers have no gradients. Those of the network that they were made of are taken
        at the same place; what it gives is the same.
        """
        index, mean = self._run(programs.hyper_synthesis, self.layers, z)
        index = index.astype(jnp.float32)
        if not through:
            return index, mean
        params = self.params
        if self.layers:
            model = integer.IntegerHyperSynthesis(
                self.config.latents, self.config.prior == "mean_scale"
            )
            thawed = integer.thaw(self.layers, model)
            params = {**params, "hyper_synthesis_transform": thawed}
        soft = programs.apply(self.config, params, z, method=Codec.hyper_synthesis)
        fixed = jax.lax.stop_gradient
        return fixed(index) + soft[0] - fixed(soft[0]), fixed(mean) + soft[1] - fixed(
            soft[1]
        )

    def latents(self, features: Float[np.ndarray, "h w m"], rate: float) -> Latents:
        """What is coded of the features of an image at a rate."""
        return self._latents(features, self._step(rate), True)

    def _latents(
        self,
        features: Float[np.ndarray, "h w m"],
        step: int,
        with_means: bool,
        progress: Progress = lambda stage, share: None,
    ) -> Latents:
        """As `latents`. Who only writes files needs no means, and they take much room."""
        del progress  # all of the analysis is done before
        gain = self._gain(step)
        shape = features.shape
        if self.scale_tables is None:
            rows, means = self._factorized(shape)
            return Latents(whole_numbers(features * gain - means), rows, means, None)
        hyper = self._hyper(features, gain)
        symbols, rows = np.empty(shape, np.int32), np.empty(shape, np.int32)
        means = np.empty(shape, np.float32) if with_means else np.empty((0, 0, 0))
        for piece in self._pieces(hyper, shape[:2]):
            place = piece.rows, piece.columns
            symbols[place] = whole_numbers(features[place] * gain - piece.means)
            rows[place] = piece.tables
            if with_means:
                means[place] = piece.means
        return Latents(symbols, rows, means, hyper)

    def _gain(self, step: int) -> Float[np.ndarray, " m"]:
        """What features are multiplied by."""
        if self._last_step == 0:
            return np.ones(self.config.latents, np.float32)
        return np.asarray(self._run(programs.gains, rate_of(step)))[0, 0, 0]

    def _hyper(
        self, features: Float[np.ndarray, "h w m"], gain: Float[np.ndarray, " m"]
    ) -> Int32[np.ndarray, "h2 w2 c"]:
        """Hyper latents, rounded."""

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            y = (part * gain)[None]
            return (self._on_one(programs.hyper_analysis, y, counts(cells)),)

        cell = HYPER_STRIDE, 1
        (z,) = tiling.tiled(
            tiling.bucketed(transform, cell, HYPER_TILES),
            features,
            cell=cell,
            window=HYPER_TILES.window,
            margin=HYPER_TILES.margin,
        )
        return whole_numbers(z)

    def _distributions(
        self, hyper: Int32[np.ndarray, "h w c"], size: tuple[int, ...]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables and means of all latents."""
        rows = np.empty((*size, self.config.latents), np.int32)
        means = np.empty(rows.shape, np.float32)
        for piece in self._pieces(hyper, size):
            rows[piece.rows, piece.columns] = piece.tables
            means[piece.rows, piece.columns] = piece.means
        return rows, means

    def _pieces(
        self, hyper: Int32[np.ndarray, "h w c"], size: tuple[int, ...]
    ) -> Iterator[_Distributions]:
        """Rows of tables and means of the latents of an image, window by window."""

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            found = self._run(
                programs.hyper_synthesis, self.layers, part[None], counts(cells)
            )
            rows, means = map(np.asarray, found)
            return rows[0], means[0]

        cell = 1, HYPER_STRIDE
        h, w = size
        levels = self._levels((h, w, self.config.latents))
        for rows, columns, (tables, means) in tiling.pieces(
            tiling.bucketed(transform, cell, HYPER_TILES),
            hyper,
            cell=cell,
            window=HYPER_TILES.window,
            margin=HYPER_TILES.margin,
        ):
            # The last hyper latents stand for more rows and columns than there are.
            tables = tables[: h - rows.start, : w - columns.start]
            means = means[: h - rows.start, : w - columns.start]
            if levels is not None:
                tables, means = self._dithered(tables, means, levels[rows, columns])
            yield _Distributions(rows, columns, tables, means)

    def _factorized(
        self, shape: tuple[int, ...]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables and means without hyper latents."""
        rows, means, levels = channels(shape), np.zeros(shape, np.float32), None
        levels = self._levels(shape)
        return (rows, means) if levels is None else self._dithered(rows, means, levels)

    def _levels(self, shape: tuple[int, ...]) -> Int32[np.ndarray, "h w m"] | None:
        """Which offset each latent has; None without dither."""
        count = self.config.dither
        return np.asarray(ops.dither_levels(shape, count)) if count else None

    def _dithered(
        self,
        rows: Int32[np.ndarray, "h w m"],
        means: Float[np.ndarray, "h w m"],
        levels: Int32[np.ndarray, "h w m"],
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables, and what is added to symbols, for the offset of each latent."""
        count = self.config.dither
        return count * rows + levels, means + ops.dither_offsets(count)[levels]

    def _packed(
        self,
        latents: Latents,
        step: int,
        size: tuple[int, ...],
        extras: Mapping[str, bytes],
    ) -> bytes:
        """A file."""
        packet = Packet(
            self.name,
            self.fingerprint,
            size[0],
            size[1],
            step,
            self._strings(latents, step),
            extras,
        )
        return bitstream.pack(packet)

    def _strings(self, latents: Latents, step: int) -> tuple[bytes, ...]:
        del step  # the tables are those of all rates
        if latents.hyper is None or self.scale_tables is None:
            return (range_coder.encode(latents.symbols, latents.rows, self.tables),)
        return (
            range_coder.encode(
                latents.hyper, channels(latents.hyper.shape), self.tables
            ),
            range_coder.encode(latents.symbols, latents.rows, self.scale_tables),
        )

    def _parsed(
        self, strings: tuple[bytes, ...], size: tuple[int, int], step: int
    ) -> Latents:
        """What strings hold; cheap checks first, since anything may be in them.

        Raises:
          ValueError: they are damaged, or too short for so many symbols.
        """
        del step  # the tables are those of all rates
        h, w = (-(-side // STRIDE) for side in size)
        if self.scale_tables is None:
            shape = (h, w, self.config.latents)
            check_length(strings[-1], self._least_bits * h * w)
            rows, means = self._factorized(shape)
            symbols = range_coder.decode(strings[0], rows, self.tables)
            return Latents(symbols, rows, means, None)
        shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), len(self.tables.offset))
        check_length(strings[0], self._least_bits * shape[0] * shape[1])
        of_latents = self.scale_tables.least_bits
        check_length(strings[1], of_latents.min() * h * w * self.config.latents)
        hyper = range_coder.decode(strings[0], channels(shape), self.tables)
        rows = np.empty((h, w, self.config.latents), np.int32)
        means = np.empty(rows.shape, np.float32)
        least = 0.0
        for piece in self._pieces(hyper, (h, w)):
            # Memory is in use from here on, as far as the second string reaches.
            least += float(of_latents[piece.tables].sum())
            check_length(strings[1], least)
            rows[piece.rows, piece.columns] = piece.tables
            means[piece.rows, piece.columns] = piece.means
        symbols = range_coder.decode(strings[1], rows, self.scale_tables)
        return Latents(symbols, rows, means, hyper)

    @functools.cached_property
    def _least_bits(self) -> float:
        """That the channels at one place take at least, by the factorized prior."""
        levels = max(self.config.dither, 1) if self.scale_tables is None else 1
        by_channel = self.tables.least_bits.reshape(-1, levels)
        return float(by_channel.min(axis=1).sum())

    def _features(
        self, image: UInt8[np.ndarray, "h w 3"], progress: Progress
    ) -> Float[np.ndarray, "h2 w2 m"]:
        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            return (self._on_one(programs.analysis, part[None], counts(cells)),)

        cell = STRIDE, 1
        (found,) = tiling.tiled(
            tiling.bucketed(transform, cell, TILES),
            image,
            cell=cell,
            window=TILES.window,
            margin=TILES.margin,
            progress=share_of("analysis", image.shape[:2], progress),
        )
        return found

    def _decoded(
        self, latents: Latents, step: int, size: tuple[int, ...]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image of latents."""
        y = latents.symbols.astype(np.float32) + latents.means
        return self._shown(y, step, size)

    def _shown(
        self,
        y: Float[np.ndarray, "h w m"],
        step: int,
        size: tuple[int, ...],
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image of dequantised latents."""

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            return (
                self._on_one(
                    programs.synthesis, part[None], rate_of(step), counts(cells)
                ),
            )

        cell = 1, STRIDE
        (image,) = tiling.tiled(
            tiling.bucketed(transform, cell, TILES),
            y,
            cell=cell,
            window=TILES.window,
            margin=TILES.margin,
            size=(size[0], size[1]),
            progress=share_of("synthesis", size, progress),
        )
        return image

    def _on_one(self, function: Callable[..., Any], *arguments: Any) -> np.ndarray:
        """What a program gives for a batch of one."""
        return np.asarray(self._run(function, *arguments))[0]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.config, self.params, *arguments)

    def _check_image(self, image: Any) -> None:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            array = isinstance(image, np.ndarray)
            found = image.dtype if array else type(image).__name__
            raise ValueError(f"image: expected an array of uint8, found {found}")
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image: expected shape (h, w, 3), found {image.shape}")
        height, width = image.shape[:2]
        self._check_area("image:", height, width, LARGEST_IMAGE)

    def _check_area(self, what: str, height: int, width: int, largest: int) -> None:
        """That an image is within the limit, and also filled up to whole cells."""
        found = f"{what} {width} x {height} pixels, more than"
        if height * width > largest:
            raise ValueError(f"{found} the limit of {largest}")
        cell = STRIDE * (1 if self.scale_tables is None else HYPER_STRIDE)
        filled = (-(-height // cell) * cell) * (-(-width // cell) * cell)
        if filled > max(_MOST_FILLED * largest, _FEW_PIXELS):
            raise ValueError(
                f"{found} such a narrow image may have: it is filled up to {filled} "
                f"pixels, and {_MOST_FILLED} times the limit of {largest} are allowed"
            )

    @property
    def _last_step(self) -> int:
        return (len(self.config.lambdas) - 1) * RATE_STEPS

    def _step(self, rate: float | None) -> int:
        last = len(self.config.lambdas) - 1
        if rate is None:
            return last * RATE_STEPS // 2
        if not 0 <= rate <= last:
            raise ValueError(f"rate is {rate}, expected 0 to {last} for {self.name}")
        return round(rate * RATE_STEPS)


def _not_default(config: CodecConfig) -> dict[str, Any]:
    """What differs; so a new option leaves the fingerprints of older codecs alone."""
    default = dataclasses.asdict(CodecConfig())
    fields = dataclasses.asdict(config).items()
    return {name: value for name, value in fields if value != default[name]}


def _shortest(weights: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    half = weights.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), weights) else weights


def channels(shape: tuple[int, ...]) -> Int32[np.ndarray, "h w c"]:
    """The number of the channel of each element: the rows of a factorized prior."""
    return np.broadcast_to(np.arange(shape[2], dtype=np.int32), shape)


def whole_numbers(x: Float[np.ndarray, "*s"]) -> Int32[np.ndarray, "*s"]:
    """Rounded, and clipped to what tables can code."""
    return np.clip(np.rint(x), -_LARGEST_SYMBOL, _LARGEST_SYMBOL).astype(np.int32)


def share_of(
    stage: str, size: tuple[int, ...], progress: Progress
) -> Callable[[int], None]:
    """Counts cells, and tells which share of an image is done."""
    total = -(-size[0] // STRIDE) * -(-size[1] // STRIDE)
    done = 0

    def count(cells: int) -> None:
        nonlocal done
        done += cells
        progress(stage, done / total)

    return count


def counts(cells: tuple[int, int]) -> tuple[np.int32, np.int32]:
    """Arguments of a program, which serves all."""
    return np.int32(cells[0]), np.int32(cells[1])


def rate_of(step: int) -> Float[np.ndarray, "1"]:
    """The rate that a file's number means, for a batch of one."""
    return np.full(1, step / RATE_STEPS, np.float32)


def _values(latents: Latents) -> Float[np.ndarray, "h w m"]:
    """Symbols plus means, in the place of the means."""
    return np.add(
        latents.symbols,
        latents.means,
        out=latents.means,
        dtype=np.float32,
        casting="unsafe",
    )


def _psnr(
    image: UInt8[np.ndarray, "h w 3"], shown: UInt8[np.ndarray, "h w 3"]
) -> float:
    """In dB; row by row, since a float copy of a large image takes gigabytes."""
    rows = zip(image, shown, strict=True)
    squares = sum(np.square(a.astype(np.int64) - b).sum() for a, b in rows)
    return float(10 * np.log10(255**2 / max(squares / image.size, 1e-12)))


def check_length(data: bytes, bits: float) -> None:
    """Raises ValueError if symbols that take so many bits cannot be in a string."""
    slack = _ROUND_NUMBERS if data.strip(b"\0") else _ZEROS
    if 8 * (len(data) + slack) < bits:
        raise ValueError(
            f"the file is damaged: a string of {len(data)} bytes, of symbols that take "
            f"{int(bits / 8)} at least"
        )


def _number(what: str, value: Any) -> float:
    """Raises ValueError unless it is one."""
    found = value if isinstance(value, str) else type(value).__name__
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: expected a number, found {found!r}") from error
    if np.isnan(number):
        raise ValueError(f"{what} is nan, expected a number")
    return number
