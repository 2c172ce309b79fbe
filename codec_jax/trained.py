"""A trained codec: images to bytes and back.

    codec = codec_jax.load("ms128")
    data = codec.compress(image)      # uint8 (h, w, 3) -> bytes
    image = codec.decompress(data)    # bytes -> uint8 (h, w, 3)

`TrainedCodec` holds weights and the integers that sender and receiver share.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from codec_jax import ops, tiling
from codec_jax.coding import bitstream, range_coder
from codec_jax.coding.bitstream import Packet
from codec_jax.coding.tables import Tables
from codec_jax.entropy import scales
from codec_jax.models import integer, strips
from codec_jax.models.codec import Codec, cropped, rounded
from codec_jax.models.config import HYPER_STRIDE, STRIDE, CodecConfig

# Positions between two rates that a file can name.
_RATE_STEPS = 256
# Sides of windows and of the margin around what is kept of them, in latents for the
# transforms (receptive fields reach less than 2 latents) and in hyper latents for those
# of the hyperprior (less than 2).
_WINDOW, _HYPER_WINDOW, _MARGIN = 64, 128, 2
# Pixels that a file may ask for: what its size alone cannot show.
LARGEST_IMAGE = 2**27
# Beyond this a latent is clipped; nothing near it comes from an image.
_LARGEST_SYMBOL = 2**28

Progress = Callable[[str, float], None]


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
    hyper: Int32[np.ndarray, "h' w' c"] | None


@dataclasses.dataclass(frozen=True, eq=False)
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

    @property
    def rates(self) -> tuple[float, ...]:
        """Values of `rate` that the codec was trained for, low to high."""
        return tuple(float(i) for i in range(len(self.config.lambdas)))

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """Four bytes that tell these weights and tables from others."""
        digest = hashlib.sha256(
            json.dumps(_not_default(self.config), sort_keys=True).encode()
        )
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()[:4]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name; weights in 16 bits where these hold them exactly."""
        found: dict[str, np.ndarray] = {}
        flat = flax.traverse_util.flatten_dict(self.params, sep="/")
        for name, leaf in sorted(flat.items()):
            found[f"params/{name}"] = _shortest(np.asarray(leaf, np.float32))
        for number, layer in enumerate(self.layers):
            for field, array in layer._asdict().items():
                found[f"layers/{number}/{field}"] = array
        for prefix, tables in (("tables", self.tables), ("scales", self.scale_tables)):
            if tables is not None:
                for field, array in dataclasses.asdict(tables).items():
                    found[f"{prefix}/{field}"] = array
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
          rate: position in `rates`, also between two; None is the middle.
          target_bpp: in place of `rate`: the largest one with at most so many bits of
            the file for each pixel.
          target_psnr: in place of `rate`: the smallest one with at least this PSNR over
            RGB in dB.
          extras: side data of `image_files.extras_of`.
          progress: told what is being done and which share of it is.

        Raises:
          ValueError: no such image, rate or target; a target without `rates` to choose
            from, or out of the codec's reach.
        """
        _check_image(image)
        given = [v for v in (rate, target_bpp, target_psnr) if v is not None]
        if len(given) > 1:
            raise ValueError("give one of rate, target_bpp and target_psnr")
        features = self._features(image, progress)

        @functools.cache  # the search for a target ends at a file that it has made
        def file(step: int) -> bytes:
            latents = self.latents(features, step / _RATE_STEPS)
            packet = Packet(
                self.name,
                self.fingerprint,
                image.shape[0],
                image.shape[1],
                step,
                self._strings(latents),
                extras or {},
            )
            return bitstream.pack(packet)

        @functools.cache
        def psnr(step: int) -> float:
            decoded = self._decoded(
                self.latents(features, step / _RATE_STEPS), step, image.shape[:2]
            )
            error = np.mean(np.square(image.astype(np.float64) - decoded))
            return float(10 * np.log10(255**2 / max(error, 1e-12)))

        pixels = image.shape[0] * image.shape[1]
        if target_bpp is not None:
            step = self._largest(lambda s: 8 * len(file(s)) / pixels <= target_bpp)
            if step is None:
                least = 8 * len(file(0)) / pixels
                raise ValueError(
                    f"target_bpp is {target_bpp}, but this image takes at least "
                    f"{least:.4f} with {self.name}"
                )
            return file(step)
        if target_psnr is not None:
            below = self._largest(lambda s: not psnr(s) >= target_psnr)
            step = 0 if below is None else below + 1
            if step > self._last_step:
                raise ValueError(
                    f"target_psnr is {target_psnr} dB, but this image reaches at most "
                    f"{psnr(self._last_step):.2f} with {self.name}"
                )
            return file(step)
        return file(self._step(rate))

    def decompress(
        self,
        data: bytes,
        *,
        largest_image: int = LARGEST_IMAGE,
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image of the bytes that `compress` returned.

        Args:
          data: a whole file. Anything may be in it.
          largest_image: pixels; a file that asks for more is refused.
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
        if packet.height * packet.width > largest_image:
            raise ValueError(
                f"the image has {packet.width} x {packet.height} pixels, more than the "
                f"limit of {largest_image}"
            )
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
        return self._decoded(
            self._parsed(packet.strings, size), packet.rate, size, progress
        )

    def reconstruct(
        self,
        images: Float[Array, "n h w 3"],
        rate: float | Float[Array, " n"] | None = None,
    ) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
        """Images after compression, and the bits that they take, without files.

        Pure and differentiable except at the rounding; may be called under `jit`.

        Args:
          images: in [0, 1].
          rate: as for `compress`, one for all or one for each.

        Returns: images, in [0, 1] but not rounded to 8 bits, and -log2 of the
          probability of what would be coded, (n,).
        """
        apply = functools.partial(_apply, self.config, self.params)
        middle = self._step(None) / _RATE_STEPS
        rates = jnp.broadcast_to(
            jnp.float32(middle if rate is None else rate), len(images)
        )
        y = apply(images, rates, method=Codec.analysis)
        if self.scale_tables is None:
            y_hat = rounded(y, self.config.dither)
            log2 = apply(y_hat, method=Codec.log_prior)
            bits = -jnp.sum(log2, (1, 2, 3))
        else:
            z = apply(y, method=Codec.hyper_analysis)
            z_hat = jnp.round(z)
            index, mean = (
                cropped(x, y) for x in self._run(_hyper_synthesis, self.layers, z_hat)
            )
            v = rounded(y - mean, self.config.dither)
            y_hat = v + mean
            log2 = apply(z_hat, method=Codec.log_prior)
            bits = -jnp.sum(log2, (1, 2, 3))
            bits = bits - jnp.sum(scales.log2_mass(v, index), (1, 2, 3))
        decoded = apply(y_hat, rates, method=Codec.synthesis)
        return jnp.clip(cropped(decoded, images), 0, 1), bits

    def latents(self, features: Float[np.ndarray, "h w m"], rate: float) -> Latents:
        """What is coded of the features of an image at a rate."""
        y = np.asarray(self._run(_scaled, features[None], jnp.full(1, rate))[0])
        if self.scale_tables is None:
            rows, means = self._dithered(_channels(y.shape), np.zeros_like(y))
            return Latents(_rounded(y - means), rows, means, None)
        (z,) = tiling.tiled(
            lambda part: (self._of_whole_cells(_hyper_analysis, part, HYPER_STRIDE),),
            y,
            cell=(HYPER_STRIDE, 1),
            window=_HYPER_WINDOW,
            margin=_MARGIN,
        )
        hyper = _rounded(z)
        rows, means = self._distributions(hyper, y.shape[:2])
        return Latents(_rounded(y - means), rows, means, hyper)

    def _distributions(
        self, hyper: Int32[np.ndarray, "h w c"], size: tuple[int, ...]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        def transform(part: np.ndarray) -> tuple[np.ndarray, ...]:
            z = part[None].astype(np.float32)
            rows, means = self._run(_hyper_synthesis, self.layers, z)
            return np.asarray(rows[0]), np.asarray(means[0])

        rows, means = tiling.tiled(
            transform,
            hyper,
            cell=(1, HYPER_STRIDE),
            window=_HYPER_WINDOW,
            margin=_MARGIN,
        )
        h, w = size
        return self._dithered(rows[:h, :w], means[:h, :w])

    def _dithered(
        self, rows: Int32[np.ndarray, "h w m"], means: Float[np.ndarray, "h w m"]
    ) -> tuple[Int32[np.ndarray, "h w m"], Float[np.ndarray, "h w m"]]:
        """Rows of tables, and what is added to symbols, for the offset of each latent."""
        count = self.config.dither
        if not count:
            return rows, means
        levels = np.asarray(ops.dither_levels(rows.shape, count))
        return count * rows + levels, means + ops.dither_offsets(count)[levels]

    def _strings(self, latents: Latents) -> tuple[bytes, ...]:
        if latents.hyper is None or self.scale_tables is None:
            return (range_coder.encode(latents.symbols, latents.rows, self.tables),)
        return (
            range_coder.encode(
                latents.hyper, _channels(latents.hyper.shape), self.tables
            ),
            range_coder.encode(latents.symbols, latents.rows, self.scale_tables),
        )

    def _parsed(self, strings: tuple[bytes, ...], size: tuple[int, int]) -> Latents:
        h, w = (-(-side // STRIDE) for side in size)
        if self.scale_tables is None:
            shape = (h, w, self.config.latents)
            rows, means = self._dithered(_channels(shape), np.zeros(shape, np.float32))
            symbols = range_coder.decode(strings[0], rows, self.tables)
            return Latents(symbols, rows, means, None)
        shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), len(self.tables.offset))
        hyper = range_coder.decode(strings[0], _channels(shape), self.tables)
        rows, means = self._distributions(hyper, (h, w))
        symbols = range_coder.decode(strings[1], rows, self.scale_tables)
        return Latents(symbols, rows, means, hyper)

    def _features(
        self, image: UInt8[np.ndarray, "h w 3"], progress: Progress
    ) -> Float[np.ndarray, "h' w' m"]:
        (found,) = tiling.tiled(
            lambda part: (self._of_whole_cells(_analysis, part, STRIDE),),
            image,
            cell=(STRIDE, 1),
            window=_WINDOW,
            margin=_MARGIN,
            progress=_share_of("analysis", image.shape[:2], progress),
        )
        return found

    def _decoded(
        self,
        latents: Latents,
        step: int,
        size: tuple[int, ...],
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        y = latents.symbols.astype(np.float32) + latents.means
        rate = jnp.full(1, step / _RATE_STEPS)
        (image,) = tiling.tiled(
            lambda part: (np.asarray(self._run(_synthesis, part[None], rate)[0]),),
            y,
            cell=(1, STRIDE),
            window=_WINDOW,
            margin=_MARGIN,
            progress=_share_of("synthesis", size, progress),
        )
        return image[: size[0], : size[1]]

    def _of_whole_cells(
        self, function: Callable[..., Any], part: np.ndarray, stride: int
    ) -> np.ndarray:
        """As the networks would fill up the edge; one program for all sizes in between."""
        h, w, _ = part.shape
        filled = np.pad(part, ((0, -h % stride), (0, -w % stride), (0, 0)), "edge")
        return np.asarray(self._run(function, filled[None])[0])

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.config, self.params, *arguments)

    @property
    def _last_step(self) -> int:
        return (len(self.config.lambdas) - 1) * _RATE_STEPS

    def _step(self, rate: float | None) -> int:
        last = len(self.config.lambdas) - 1
        if rate is None:
            return last * _RATE_STEPS // 2
        if not 0 <= rate <= last:
            raise ValueError(f"rate is {rate}, expected 0 to {last} for {self.name}")
        return round(rate * _RATE_STEPS)

    def _largest(self, holds: Callable[[int], bool]) -> int | None:
        """The largest step up to which `holds`, by bisection; None if it never does."""
        if self._last_step == 0:
            raise ValueError(f"{self.name} has a single rate: no target can be chosen")
        if not holds(0):
            return None
        if holds(self._last_step):
            return self._last_step
        low, high = 0, self._last_step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low


# One program for each architecture and shape; weights are arguments, because as constants
# they would be compiled anew for each codec, and folded for minutes.
def _apply(config: CodecConfig, params: Any, *arguments: Any, method: Any) -> Any:
    return Codec(config).apply({"params": params}, *arguments, method=method)


@functools.partial(jax.jit, static_argnums=0)
def _analysis(config: CodecConfig, params: Any, pixels: Array) -> Array:
    images = pixels.astype(jnp.float32) / 255
    return _apply(config, params, images, _in_strips(images), method=Codec.features)


@functools.partial(jax.jit, static_argnums=0)
def _scaled(config: CodecConfig, params: Any, y: Array, rate: Array) -> Array:
    return _apply(config, params, y, rate, method=Codec.scaled)


@functools.partial(jax.jit, static_argnums=0)
def _hyper_analysis(config: CodecConfig, params: Any, y: Array) -> Array:
    return _apply(config, params, y, method=Codec.hyper_analysis)


@functools.partial(jax.jit, static_argnums=0)
def _hyper_synthesis(
    config: CodecConfig, params: Any, layers: tuple[integer.Layer, ...], z: Array
) -> tuple[Array, Array]:
    if layers:
        return integer.parameters(z.astype(jnp.int32), list(layers), config.latents)
    index, mean = _apply(config, params, z, method=Codec.hyper_synthesis)
    if config.hyper == "scale":
        return scales.rounded_up(index), mean
    return jnp.round(index).astype(jnp.int32), mean


@functools.partial(jax.jit, static_argnums=0)
def _synthesis(config: CodecConfig, params: Any, y: Array, rate: Array) -> Array:
    split = _in_strips(y, STRIDE)
    images = _apply(config, params, y, rate, split, method=Codec.synthesis)
    return ops.eight_bits(images).astype(jnp.uint8)


def _in_strips(x: Array, pixels: int = 1) -> bool:
    """Whether it is faster; `pixels`: rows of the image for each of x."""
    tall = x.shape[1] * pixels > 2 * strips.IMAGE_ROWS
    return tall and jax.default_backend() == "cpu"


def _not_default(config: CodecConfig) -> dict[str, Any]:
    """What differs; so a new option leaves the fingerprints of older codecs alone."""
    default = dataclasses.asdict(CodecConfig())
    fields = dataclasses.asdict(config).items()
    return {name: value for name, value in fields if value != default[name]}


def _shortest(weights: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    half = weights.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), weights) else weights


def _channels(shape: tuple[int, ...]) -> Int32[np.ndarray, "h w c"]:
    """The number of the channel of each element: the rows of a factorized prior."""
    return np.broadcast_to(np.arange(shape[2], dtype=np.int32), shape)


def _rounded(x: Float[np.ndarray, "*s"]) -> Int32[np.ndarray, "*s"]:
    return np.clip(np.rint(x), -_LARGEST_SYMBOL, _LARGEST_SYMBOL).astype(np.int32)


def _share_of(
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


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image: expected an array of uint8, found {found}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image: expected shape (h, w, 3), found {image.shape}")
    if image.shape[0] * image.shape[1] > LARGEST_IMAGE:
        raise ValueError(
            f"image: {image.shape[1]} x {image.shape[0]} pixels are more than the limit "
            f"of {LARGEST_IMAGE}"
        )
