"""A trained codec: images to bytes and back.

    codec = codec_jax.load("qt256")
    data = codec.compress(image)      # uint8 (h, w, 3) -> bytes
    image = codec.decompress(data)    # bytes -> uint8 (h, w, 3)

`TrainedCodec` holds weights and the integers that sender and receiver share. It cuts
large images into tiles and makes files; its networks and its latent codec come from its
architecture.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from codec_jax import image_files, ops, storage
from codec_jax.coding import bitstream
from codec_jax.coding.bitstream import Packet
from codec_jax.coding.tables import Tables
from codec_jax.inference import programs, target_rate, tiling
from codec_jax.inference.tiling import Tiles
from codec_jax.latents import integer
from codec_jax.latents.contract import Frozen, Integers, LatentCodec, Latents
from codec_jax.models import architectures
from codec_jax.models.architectures import Architecture
from codec_jax.models.codec import Codec
from pim_jax import metric

# Positions between two rates that a file can name.
RATE_STEPS = 256
# Of windows of the transforms, in latents; a program is compiled for each pair of sides.
_WINDOW, _SIDES = 64, (4, 8, 16, 32, 48, 64)
# Pixels that a file may ask for: what its size alone cannot show. Pictures are filled up
# to whole cells, which makes many pixels of few where a picture is narrow: so many times
# the limit at most, or so many pixels where the limit is lower.
LARGEST_IMAGE = 2**27
_MOST_FILLED, _FEW_PIXELS = 2, 2**20
# Pixels that a search for a target decodes to choose where it looks closer, and before it
# says that there is no such rate; and the most places in either case.
_COARSE_SEARCH, _FINE_SEARCH, _MOST_PLACES = 2**20, 2**23, 128

Progress = Callable[[str, float], None]
Rounding = Literal["nearest", "straight_through"]
# Latents of an image at a step of the rate.
_Analysed = Callable[[int], Float[np.ndarray, "h w m"]]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedCodec:
    """Weights, and the integers that sender and receiver share. Immutable.

    It cannot be an argument of a compiled function; close over it.

    Attributes:
      name: a file names the codec that wrote it.
      config: the architecture.
      params: of `networks`; without those of an integer network.
      layers: the integer network; empty if the architecture has none.
      tables: of the factorized prior.
      scale_tables: one for each of the 64 scales; None without a hyperprior.

    Raises:
      ValueError: a name that no file can carry.
    """

    name: str
    config: Architecture
    params: Any
    layers: tuple[integer.Layer, ...]
    tables: Tables
    scale_tables: Tables | None

    def __post_init__(self) -> None:
        bitstream.check_name(self.name)

    def __repr__(self) -> str:
        """What tells it from others; its weights would fill pages."""
        return (
            f"TrainedCodec({self.name!r}, fingerprint {self.fingerprint.hex()}, "
            f"{self.config}, rates 0 to {len(self.config.lambdas) - 1})"
        )

    @property
    def description(self) -> str:
        """The architecture in a line."""
        return str(self.config)

    @property
    def rates(self) -> tuple[float, ...]:
        """Values of `rate` that the codec was trained for, low to high."""
        return tuple(float(i) for i in range(len(self.config.lambdas)))

    @property
    def networks(self) -> Codec:
        """The networks, without weights."""
        return architectures.networks(self.config)

    @property
    def latent_codec(self) -> LatentCodec:
        """The entropy model, without weights."""
        return self.networks.latent_codec

    @property
    def frozen(self) -> Frozen:
        """What the latent codec reads of this."""
        integers = Integers(self.layers, self.tables, self.scale_tables)
        return Frozen(self.params, integers)

    @functools.cached_property
    def thawed(self) -> dict[str, Any]:
        """Parameters of all `networks`; integers as the floats that they stand for."""
        return {**self.params, **self.latent_codec.thaw(self.frozen.integers)}

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """Four bytes that tell these weights and tables from others."""
        identity = json.dumps(self.config.identity(), sort_keys=True)
        digest = hashlib.sha256(identity.encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()[:4]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name; weights in 8 or 16 bits."""
        found = storage.arrays_of(self.params, self.config.storage)
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
        targets = {"target_bpp": target_bpp, "target_psnr": target_psnr}
        given = {
            name: _number(name, value)
            for name, value in {"rate": rate, **targets}.items()
            if value is not None
        }
        if len(given) > 1:
            raise ValueError("give one of rate, target_bpp and target_psnr")
        size, extras = image.shape[:2], extras or {}
        if not given or "rate" in given:
            step = self._step(given.get("rate"))
            y = self._analysed(image, progress)(step)
            return self._file(y, step, size, extras)
        if self._last_step == 0:
            raise ValueError(f"{self.name} has a single rate: no target can be chosen")
        analysed = self._analysed(image, progress)
        if target_psnr is not None:
            step = self._psnr_search(image, analysed, given["target_psnr"], extras)
            return self._file(analysed(step), step, size, extras)

        @functools.cache  # the search ends at a file that it has made
        def file(step: int) -> bytes:
            return self._file(analysed(step), step, size, extras)

        return file(self._bpp_search(file, given["target_bpp"], size))

    def _psnr_search(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        analysed: _Analysed,
        target: float,
        extras: Mapping[str, bytes],
    ) -> int:
        """The smallest step with at least this PSNR."""

        @functools.cache
        def psnr(step: int) -> float:
            latents = self.latents(analysed(step), step / RATE_STEPS)
            shown = self._shown(latents.values(), step, image.shape[:2])
            if "grey" in extras:
                shown = image_files.picture_from(shown, {"grey": b""}).pixels
            return _psnr(image, shown)

        coarse, fine = self._places(image.shape[:2])
        found = target_rate.best_of(lambda step: psnr(step) >= target, coarse, fine)
        if found is None:
            raise ValueError(
                f"target_psnr is {target} dB, but this image reaches at most "
                f"{max(map(psnr, fine)):.2f} with {self.name}"
            )
        return found

    def _bpp_search(
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
        expected = self.latent_codec.strings_per_file
        if len(packet.strings) != expected:
            raise ValueError(
                f"the file has {len(packet.strings)} strings, expected {expected}"
            )
        size = packet.height, packet.width
        y = self.parsed(packet.strings, size, packet.rate / RATE_STEPS).values()
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
        found: tuple[Array, Array] = _reconstructed(
            self.networks, self.thawed, images, rates
        )
        through = rounding == "straight_through"
        return found if through else jax.lax.stop_gradient(found)

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

    def latents(self, y: Float[np.ndarray, "h w m"], rate: float) -> Latents:
        """What is coded of the latents of an image, see `analysed`, at a rate."""
        return self.latent_codec.quantized(self.frozen, y, rate)

    def analysed(
        self, image: UInt8[np.ndarray, "h w 3"], rate: float
    ) -> Float[np.ndarray, "h2 w2 m"]:
        """Latents of an image, scaled for a rate, before they are rounded."""
        return self._analysed(image, lambda stage, share: None)(self._step(rate))

    def strings(self, latents: Latents, rate: float) -> tuple[bytes, ...]:
        """The strings of a file."""
        return self.latent_codec.strings(self.frozen, latents, rate)

    def parsed(
        self, strings: tuple[bytes, ...], size: tuple[int, int], rate: float
    ) -> Latents:
        """What strings hold; `size` is that of the image.

        Raises:
          ValueError: they are damaged, or too short for so many symbols.
        """
        stride = self.networks.stride
        cells = -(-size[0] // stride), -(-size[1] // stride)
        return self.latent_codec.parsed(self.frozen, strings, cells, rate)

    def decoded(
        self, latents: Latents, rate: float, size: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image of latents; `size` is that of the image."""
        y = latents.symbols.astype(np.float32) + latents.means
        return self._shown(y, self._step(rate), size)

    def _analysed(
        self, image: UInt8[np.ndarray, "h w 3"], progress: Progress
    ) -> _Analysed:
        """Latents as a function of the step; features serve all steps where they can."""
        if not self.networks.one_analysis:
            return lambda step: self._features(image, step, progress) * self._gain(step)
        features = self._features(image, 0, progress)
        return lambda step: features * self._gain(step)

    def _gain(self, step: int) -> Float[np.ndarray, " m"]:
        """What features are multiplied by."""
        if self._last_step == 0:
            return np.ones(self.config.latents, np.float32)
        gains = programs.on_one(self.networks, "gains", self.params, _rate_of(step))
        return np.asarray(gains)[0, 0]

    def _features(
        self, image: UInt8[np.ndarray, "h w 3"], step: int, progress: Progress
    ) -> Float[np.ndarray, "h2 w2 m"]:
        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            arguments = self.params, part[None], _rate_of(step), tiling.counts(cells)
            return (programs.on_one(self.networks, "features_of_pixels", *arguments),)

        stride = self.networks.stride
        tiles = Tiles(_WINDOW, self.networks.analysis_transform.margin, _SIDES)
        told = _share_of("analysis", image.shape[:2], stride, progress)
        (found,) = tiling.in_tiles(transform, image, (stride, 1), tiles, progress=told)
        return found

    def _shown(
        self,
        y: Float[np.ndarray, "h w m"],
        step: int,
        size: tuple[int, ...],
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The image of dequantised latents."""

        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            arguments = self.params, part[None], _rate_of(step), tiling.counts(cells)
            return (programs.on_one(self.networks, "decoded_pixels", *arguments),)

        stride = self.networks.stride
        tiles = Tiles(_WINDOW, self.networks.synthesis_transform.margin, _SIDES)
        told = _share_of("synthesis", size, stride, progress)
        shape = size[0], size[1]
        (image,) = tiling.in_tiles(transform, y, (1, stride), tiles, shape, told)
        return image

    def _file(
        self,
        y: Float[np.ndarray, "h w m"],
        step: int,
        size: tuple[int, ...],
        extras: Mapping[str, bytes],
    ) -> bytes:
        """A file of latents."""
        rate = step / RATE_STEPS
        latents = self.latent_codec.quantized(self.frozen, y, rate, with_means=False)
        strings = self.strings(latents, rate)
        height, width = size
        return bitstream.pack(
            Packet(self.name, self.fingerprint, height, width, step, strings, extras)
        )

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
        cell = self.networks.stride * self.latent_codec.stride
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


@functools.partial(jax.jit, static_argnums=0)
def _reconstructed(
    networks: Codec,
    params: Any,
    images: Float[Array, "n h w 3"],
    rates: Float[Array, " n"],
) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
    passed: Any = networks.apply(
        {"params": params}, images, rates, None, "straight_through"
    )
    return jnp.clip(passed.images, 0, 1), passed.bits


def _share_of(
    stage: str, size: tuple[int, ...], stride: int, progress: Progress
) -> Callable[[int], None]:
    """Counts cells, and tells which share of an image is done."""
    total = -(-size[0] // stride) * -(-size[1] // stride)
    done = 0

    def count(cells: int) -> None:
        nonlocal done
        done += cells
        progress(stage, done / total)

    return count


def _rate_of(step: int) -> Float[np.ndarray, "1"]:
    """The rate that a file's number means, for a batch of one."""
    return np.full(1, step / RATE_STEPS, np.float32)


def _psnr(
    image: UInt8[np.ndarray, "h w 3"], shown: UInt8[np.ndarray, "h w 3"]
) -> float:
    """In dB; row by row, since a float copy of a large image takes gigabytes."""
    rows = zip(image, shown, strict=True)
    squares = sum(np.square(a.astype(np.int64) - b).sum() for a, b in rows)
    return float(10 * np.log10(255**2 / max(squares / image.size, 1e-12)))


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
