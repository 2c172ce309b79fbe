"""A trained `models.quadtree`: images to bytes and back.

Files are those of every codec here: a string of hyper latents, one of latents. What is
particular is that means are found in four steps, each from what was decoded before. They
are floating point numbers, and reach no table: all rows come from the hyper latents by
integer arithmetic (`models.integer`), so that a single call of the range coder reads all
symbols, and these are the same on every device.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, UInt8

from codec_jax import ops
from codec_jax.coding import range_coder, tables
from codec_jax.coding.tables import Tables
from codec_jax.entropy import factorized, gaussian_conditional
from codec_jax.entropy.factorized import Factorized
from codec_jax.inference import tiling
from codec_jax.inference.tiling import Tiles
from codec_jax.layers import Cells
from codec_jax.models import integer
from codec_jax.models.config import HYPER_STRIDE, STRIDE
from codec_jax.models.quadtree import Quadtree, QuadtreeConfig
from codec_jax.trained import (
    RATE_STEPS,
    Latents,
    Progress,
    TrainedCodec,
    channels,
    check_length,
    counts,
    rate_of,
    share_of,
    whole_numbers,
)

SCALE_SYNTHESIS = "scale_synthesis"
# In latents: receptive fields of the transforms reach one sample of 1/8 for each block.
_SYNTHESIS_TILES = Tiles(window=64, margin=6, sides=(4, 8, 16, 32, 48, 64))
_ANALYSIS_TILES = Tiles(window=64, margin=4, sides=(4, 8, 16, 32, 48, 64))
# In hyper latents: that of the means reaches 7 latents in the hyper-synthesis and 4 in
# each of three steps.
_MEANS_TILES = Tiles(window=32, margin=5, sides=(1, 2, 4, 8, 12, 16, 32))
_HYPER_TILES = Tiles(window=32, margin=2, sides=(1, 2, 4, 8, 12, 16, 32))
_LARGEST_BYTE = 127
# The layers next to the image and next to the latents keep 16 bits: errors of these few
# weights are more than half of what 8 bits cost.
_ENDS = (
    "analysis_transform/block_0/",
    "analysis_transform/down/",
    "synthesis_transform/up/",
    "synthesis_transform/last/",
    "synthesis_transform/image/",
)


class _Window(NamedTuple):
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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class QuadtreeCodec(TrainedCodec):
    """Weights, and the integers that sender and receiver share. Immutable.

    Attributes: as of `TrainedCodec`, but
      config: of `models.quadtree`.
      params: of `models.quadtree.Quadtree`; without those of its integer network.
      tables: of the hyper latents, for each rate in turn one for each channel.
    """

    config: QuadtreeConfig  # type: ignore[assignment]

    def __repr__(self) -> str:
        """What tells it from others; its weights would fill pages."""
        return (
            f"QuadtreeCodec({self.name!r}, fingerprint {self.fingerprint.hex()}, features "
            f"{self.config.features}, latents {self.config.latents}, rates 0 to "
            f"{len(self.config.lambdas) - 1})"
        )

    @property
    def description(self) -> str:
        """The architecture in a line."""
        config = self.config
        return (
            f"quadtree, features {config.features}, latents {config.latents}, blocks "
            f"{config.analysis_blocks} and {config.synthesis_blocks}, hyper integer"
        )

    def _architecture(self) -> dict[str, Any]:
        return {"architecture": "quadtree", **dataclasses.asdict(self.config)}

    def _weights(self) -> dict[str, np.ndarray]:
        """Most matrices of 8 bits with a step for each column; the rest in 16 bits."""
        found: dict[str, np.ndarray] = {}
        flat = flax.traverse_util.flatten_dict(self.params, sep="/")
        for name, leaf in sorted(flat.items()):
            if is_matrix(name, leaf):
                found[f"bytes/{name}"], found[f"steps/{name}"] = to_bytes(leaf)
            else:
                found[f"params/{name}"] = np.asarray(leaf, np.float16)
        return found

    def reconstruct(
        self,
        images: Float[Array, "n h w 3"],
        rate: float | Float[Array, " n"] | None = None,
        *,
        rounding: Any = "nearest",
    ) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
        """Images after compression and their bits; see `TrainedCodec.reconstruct`."""
        images, rates = self._checked(images, rate, rounding)
        found = self._run(_reconstruct, self._thawed, images, rates)
        if rounding == "straight_through":
            return found
        return jax.lax.stop_gradient(found)

    @functools.cached_property
    def _thawed(self) -> dict[str, Any]:
        """Parameters that the integer network was made of."""
        return integer.thaw(self.layers, scale_synthesis(self.config))

    def _features(
        self, image: UInt8[np.ndarray, "h w 3"], progress: Progress
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The image: here the analysis has gains inside, and belongs to a rate."""
        progress("analysis", 0.0)
        return image

    def _latents(
        self,
        features: UInt8[np.ndarray, "h w 3"],
        step: int,
        with_means: bool,
        progress: Progress = lambda stage, share: None,
    ) -> Latents:
        y = self._analysis(features, step, progress)
        hyper = whole_numbers(self._hyper_latents(y))
        symbols, rows = np.empty(y.shape, np.int32), np.empty(y.shape, np.int32)
        means = np.empty(y.shape, np.float32) if with_means else np.empty((0, 0, 0))
        for window in _windows(hyper.shape, y.shape):
            found = self._run(
                _encode,
                self.layers,
                _filled(hyper[window.z], 1),
                _filled(y[window.y], HYPER_STRIDE),
                *_sizes(hyper[window.z], y[window.y]),
            )
            of_window = [np.asarray(array)[0][window.kept] for array in found]
            symbols[window.target], rows[window.target] = of_window[:2]
            if with_means:
                means[window.target] = of_window[2]
        return Latents(symbols, rows, means, hyper)

    def _analysis(
        self, image: UInt8[np.ndarray, "h w 3"], step: int, progress: Progress
    ) -> Float[np.ndarray, "h2 w2 m"]:
        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            return (self._on_one(_analysis, part[None], rate_of(step), counts(cells)),)

        cell = STRIDE, 1
        (found,) = tiling.tiled(
            tiling.bucketed(transform, cell, _ANALYSIS_TILES),
            image,
            cell=cell,
            window=_ANALYSIS_TILES.window,
            margin=_ANALYSIS_TILES.margin,
            progress=share_of("analysis", image.shape[:2], progress),
        )
        return found

    def _hyper_latents(
        self, y: Float[np.ndarray, "h w m"]
    ) -> Float[np.ndarray, "h2 w2 c"]:
        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            return (self._on_one(_hyper_analysis, part[None], counts(cells)),)

        cell = HYPER_STRIDE, 1
        (found,) = tiling.tiled(
            tiling.bucketed(transform, cell, _HYPER_TILES),
            y,
            cell=cell,
            window=_HYPER_TILES.window,
            margin=_HYPER_TILES.margin,
        )
        return found

    def _strings(self, latents: Latents, step: int) -> tuple[bytes, ...]:
        assert latents.hyper is not None
        assert self.scale_tables is not None
        rows = self._hyper_rows(latents.hyper.shape, step)
        return (
            range_coder.encode(latents.hyper, rows, self.tables),
            range_coder.encode(latents.symbols, latents.rows, self.scale_tables),
        )

    def _hyper_rows(
        self, shape: tuple[int, ...], step: int
    ) -> Int32[np.ndarray, "h w c"]:
        """Of the tables of hyper latents: those of the nearest of the trained rates."""
        nearest = int(np.rint(step / RATE_STEPS))
        return channels(shape) + np.int32(nearest * self.config.hyper_latents)

    def _parsed(
        self, strings: tuple[bytes, ...], size: tuple[int, int], step: int
    ) -> Latents:
        assert self.scale_tables is not None
        h, w = (-(-side // STRIDE) for side in size)
        c, m = self.config.hyper_latents, self.config.latents
        shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), c)
        z_rows = self._hyper_rows((1, 1, c), step)
        least = self.tables.least_bits[z_rows].sum()
        check_length(strings[0], float(least) * shape[0] * shape[1])
        of_latents = self.scale_tables.least_bits
        check_length(strings[1], of_latents.min() * h * w * m)
        hyper = range_coder.decode(
            strings[0], self._hyper_rows(shape, step), self.tables
        )
        rows = np.empty((h, w, m), np.int32)
        taken = 0.0
        for window in _windows(hyper.shape, rows.shape):
            z = hyper[window.z]
            found = self._on_one(_rows, self.layers, _filled(z, 1), _size(z))
            rows[window.target] = found[window.kept]
            taken += float(of_latents[found[window.kept]].sum())
            check_length(strings[1], taken)
        symbols = range_coder.decode(strings[1], rows, self.scale_tables)
        means = np.empty(rows.shape, np.float32)
        for window in _windows(hyper.shape, rows.shape):
            z, part = hyper[window.z], symbols[window.y]
            found = self._on_one(
                _decode, _filled(z, 1), _filled(part, HYPER_STRIDE), *_sizes(z, part)
            )
            means[window.target] = found[window.kept]
        return Latents(symbols, rows, means, hyper)

    def _shown(
        self,
        y: Float[np.ndarray, "h w m"],
        step: int,
        size: tuple[int, ...],
        progress: Progress = lambda stage, share: None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        def transform(
            part: np.ndarray, cells: tuple[int, int]
        ) -> tuple[np.ndarray, ...]:
            return (self._on_one(_synthesis, part[None], rate_of(step), counts(cells)),)

        cell = 1, STRIDE
        (image,) = tiling.tiled(
            tiling.bucketed(transform, cell, _SYNTHESIS_TILES),
            y,
            cell=cell,
            window=_SYNTHESIS_TILES.window,
            margin=_SYNTHESIS_TILES.margin,
            size=(size[0], size[1]),
            progress=share_of("synthesis", size, progress),
        )
        return image


def _windows(hyper: tuple[int, ...], latents: tuple[int, ...]) -> Iterator[_Window]:
    """Windows of hyper latents with the latents that belong to them."""
    h, w = latents[:2]
    for spans in tiling.windows(
        hyper[0], hyper[1], _MEANS_TILES.window, _MEANS_TILES.margin
    ):
        z = tuple(slice(span.start, span.end) for span in spans)
        y = tuple(
            slice(HYPER_STRIDE * span.start, min(HYPER_STRIDE * span.end, side))
            for span, side in zip(spans, (h, w), strict=True)
        )
        target = tuple(
            slice(HYPER_STRIDE * span.first, min(HYPER_STRIDE * span.last, side))
            for span, side in zip(spans, (h, w), strict=True)
        )
        kept = tuple(
            slice(place.start - whole.start, place.stop - whole.start)
            for place, whole in zip(target, y, strict=True)
        )
        yield _Window(z, y, kept, target)  # type: ignore[arg-type]


def _filled(part: np.ndarray, stride: int) -> np.ndarray:
    """With zeros up to a side of the tiles, as a batch of one."""
    more = [
        (0, stride * _MEANS_TILES.side(-(-side // stride)) - side)
        for side in part.shape[:2]
    ]
    return np.pad(part, [*more, (0, 0)])[None]


def _size(x: np.ndarray) -> tuple[np.int32, np.int32]:
    return counts((x.shape[0], x.shape[1]))


def _sizes(z: np.ndarray, y: np.ndarray) -> tuple[tuple[np.int32, np.int32], ...]:
    return _size(z), _size(y)


def _apply(config: QuadtreeConfig, params: Any, *arguments: Any, method: Any) -> Any:
    return Quadtree(config).apply({"params": params}, *arguments, method=method)


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(
    config: QuadtreeConfig,
    params: Any,
    of_integers: Any,
    images: Float[Array, "n h w 3"],
    rates: Float[Array, " n"],
) -> tuple[Float[Array, "n h w 3"], Float[Array, " n"]]:
    whole = {**params, SCALE_SYNTHESIS: of_integers}
    passed: Any = Quadtree(config).apply({"params": whole}, images, rates)
    return jnp.clip(passed.images, 0, 1), passed.bits


@functools.partial(jax.jit, static_argnums=0)
def _analysis(
    config: QuadtreeConfig,
    params: Any,
    pixels: UInt8[Array, "n h w 3"],
    rate: Float[Array, "1"],
    cells: Cells,
) -> Float[Array, "n h/16 w/16 m"]:
    images = pixels.astype(jnp.float32) / 255
    return _apply(config, params, images, rate, cells, method=Quadtree.analysis)


@functools.partial(jax.jit, static_argnums=0)
def _hyper_analysis(
    config: QuadtreeConfig, params: Any, y: Float[Array, "n h w m"], cells: Cells
) -> Float[Array, "n h/4 w/4 c"]:
    return _apply(config, params, y, cells, method=Quadtree.hyper_analysis)


@functools.partial(jax.jit, static_argnums=0)
def _rows(
    config: QuadtreeConfig,
    params: Any,
    layers: tuple[integer.Layer, ...],
    z: Int[Array, "n h w c"],
    cells: Cells,
) -> Int[Array, "n 4*h 4*w m"]:
    del params
    return integer.parameters(z, list(layers), config.latents, cells)[0]


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    config: QuadtreeConfig,
    params: Any,
    layers: tuple[integer.Layer, ...],
    z: Int[Array, "n h w c"],
    y: Float[Array, "n 4*h 4*w m"],
    cells: Cells,
    size: Cells,
) -> tuple[Array, Array, Array]:
    """Symbols, rows of their tables and means."""
    rows = integer.parameters(z, list(layers), config.latents, cells)[0]
    features = _features(config, params, z, cells)
    means, _ = _apply(
        config,
        params,
        features,
        lambda means: jnp.round(y - means) + means,
        size,
        method=Quadtree.predicted,
    )
    bound = np.float32(_LARGEST_SYMBOL)
    symbols = jnp.clip(jnp.round(y - means), -bound, bound).astype(jnp.int32)
    return symbols, rows, means


@functools.partial(jax.jit, static_argnums=0)
def _decode(
    config: QuadtreeConfig,
    params: Any,
    z: Int[Array, "n h w c"],
    symbols: Int[Array, "n 4*h 4*w m"],
    cells: Cells,
    size: Cells,
) -> Float[Array, "n 4*h 4*w m"]:
    """Means of symbols."""
    whole = symbols.astype(jnp.float32)
    means, _ = _apply(
        config,
        params,
        _features(config, params, z, cells),
        lambda means: whole + means,
        size,
        method=Quadtree.predicted,
    )
    return means


def _features(config: QuadtreeConfig, params: Any, z: Array, cells: Cells) -> Array:
    z = z.astype(jnp.float32)
    return _apply(config, params, z, cells, method=Quadtree.hyper_synthesis)


@functools.partial(jax.jit, static_argnums=0)
def _synthesis(
    config: QuadtreeConfig,
    params: Any,
    y: Float[Array, "n h w m"],
    rate: Float[Array, "1"],
    cells: Cells,
) -> UInt8[Array, "n 16*h 16*w 3"]:
    images = _apply(config, params, y, rate, cells, method=Quadtree.synthesis)
    return ops.eight_bits(images).astype(jnp.uint8)


# Beyond this a latent is clipped; float32 still tells integers apart.
_LARGEST_SYMBOL = 2**23


def scale_synthesis(config: QuadtreeConfig) -> integer.IntegerHyperSynthesis:
    """The integer network of an architecture."""
    return integer.IntegerHyperSynthesis(config.latents, means=False)


def is_matrix(name: str, leaf: Any) -> bool:
    """Whether weights are stored in 8 bits."""
    of_an_end = name.startswith(_ENDS)
    return name.endswith("/kernel") and leaf.ndim == 2 and not of_an_end


def to_bytes(
    matrix: Float[np.ndarray, "i o"],
) -> tuple[Int[np.ndarray, "i o"], Float[np.ndarray, " o"]]:
    """A matrix as int8 times a step for each column, float32.

    What comes of `from_bytes` gives the same bytes again.
    """
    matrix = np.asarray(matrix, np.float32)
    largest = np.abs(matrix).max(axis=0)
    step = np.where(largest > 0, largest / np.float32(_LARGEST_BYTE), np.float32(1))
    # Up to 16 significant bits: 127 steps are exact, and the same step comes of them.
    bits = step.astype(np.float32).view(np.uint32)
    step = ((bits + np.uint32(0xFF)) & ~np.uint32(0xFF)).view(np.float32)
    return np.rint(matrix / step[None]).astype(np.int8), step


def from_bytes(
    whole: Int[np.ndarray, "i o"], step: Float[np.ndarray, " o"]
) -> Float[np.ndarray, "i o"]:
    """The inverse of `to_bytes`."""
    return whole.astype(np.float32) * step[None]


def freeze(params: Any, config: QuadtreeConfig, name: str) -> QuadtreeCodec:
    """Trained parameters with the integers that go with them: once, after training.

    Most matrices are rounded to 8 bits, with a step for each column, all else to 16.

    Args:
      params: of `models.quadtree.Quadtree`.
      config: their architecture.
      name: that every file carries.

    Raises:
      ValueError: another name, or weights that are not finite or do not fit.
    """
    rest = dict(params)
    of_integers = rest.pop(SCALE_SYNTHESIS)
    flat = flax.traverse_util.flatten_dict(rest, sep="/")
    stored = {}
    for key, leaf in flat.items():
        array = np.asarray(leaf, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{key} has values that are not finite")
        if is_matrix(key, array):
            stored[key] = from_bytes(*to_bytes(array))
        else:
            stored[key] = array.astype(np.float16).astype(np.float32)
    rounded_params = flax.traverse_util.unflatten_dict(
        {key: jnp.asarray(array) for key, array in stored.items()}, sep="/"
    )
    return QuadtreeCodec(
        name=name,
        config=config,
        params=rounded_params,
        layers=tuple(integer.freeze(of_integers, scale_synthesis(config))),
        tables=_hyper_tables(rounded_params, config),
        scale_tables=gaussian_conditional.make_tables(),
    )


def _hyper_tables(params: Mapping[str, Any], config: QuadtreeConfig) -> Tables:
    """For each rate in turn one for each channel of the hyper latents."""
    prior = Factorized(config.hyper_latents)
    made = []
    for row in range(len(config.lambdas)):
        scale, shift = (
            jnp.exp(params["prior_log_scale"][row]),
            params["prior_shift"][row],
        )
        folded = factorized.folded(params["prior"], scale, shift)
        made.append(factorized.make_tables(folded, prior))
    return tables.joined(made)


@functools.cache
def parameter_shapes(config: QuadtreeConfig) -> Mapping[str, tuple[int, ...]]:
    """The shape of each parameter by its name, without those of the integer network."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    rate = jax.ShapeDtypeStruct((1,), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables: Any = jax.eval_shape(Quadtree(config).init, key, images, rate)
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    return {
        name: leaf.shape
        for name, leaf in flat.items()
        if not name.startswith(SCALE_SYNTHESIS)
    }


def assembled(
    head: Mapping[str, Any], parts: Mapping[str, Mapping[str, np.ndarray]]
) -> QuadtreeCodec:
    """The codec of a file's head and arrays; anything may be in them.

    Args:
      head: `name` and `config`.
      parts: arrays by the first part of their name: params, bytes, steps, layers, tables
        and scales.

    Raises:
      ValueError, or another error of Python's: they do not fit together. `check` looks
        closer.
    """
    values = {key: v for key, v in head["config"].items() if key != "architecture"}
    values["lambdas"] = tuple(values["lambdas"])
    config = QuadtreeConfig(**values)
    flat = {key: np.asarray(a, np.float32) for key, a in parts["params"].items()}
    for key, whole in parts["bytes"].items():
        if whole.dtype != np.int8:
            raise ValueError(f"bytes/{key}: expected int8, found {whole.dtype}")
        flat[key] = from_bytes(whole, parts["steps"][key])
    return QuadtreeCodec(
        name=head["name"],
        config=config,
        params=flax.traverse_util.unflatten_dict(
            {key: jnp.asarray(array) for key, array in flat.items()}, sep="/"
        ),
        layers=integer.read(parts["layers"]),
        tables=Tables(**parts["tables"]),
        scale_tables=Tables(**parts["scales"]),
    )


def check(codec: QuadtreeCodec) -> None:
    """That weights, layers and tables are those of the architecture.

    Raises:
      ValueError: they are not, or some weights are not finite.
    """
    config = codec.config
    flat = flax.traverse_util.flatten_dict(codec.params, sep="/")
    expected = parameter_shapes(config)
    found = {key: array.shape for key, array in flat.items()}
    if found != expected:
        wrong = sorted(
            key
            for key in found.keys() | expected.keys()
            if found.get(key) != expected.get(key)
        )[0]
        raise ValueError(
            f"params/{wrong}: expected the shape {expected.get(wrong)}, found "
            f"{found.get(wrong)}"
        )
    for key, array in flat.items():
        if not np.isfinite(array).all():
            raise ValueError(f"params/{key} has values that are not finite")
    integer.check(list(codec.layers))
    widths = [config.hyper_latents, *integer.widths(scale_synthesis(config))]
    kernels = [layer.kernel.shape[2:] for layer in codec.layers]
    if kernels != list(itertools.pairwise(widths)):
        raise ValueError(f"layers: expected the widths {widths}, found {kernels}")
    assert codec.scale_tables is not None
    rows = len(codec.tables.cdf), len(codec.scale_tables.cdf)
    wanted = len(config.lambdas) * config.hyper_latents, gaussian_conditional.COUNT
    if rows != wanted:
        raise ValueError(f"tables: expected {wanted} rows, found {rows}")


def thaw(codec: QuadtreeCodec) -> dict[str, Any]:
    """Parameters of `models.quadtree.Quadtree`, to train further."""
    of_integers = integer.thaw(codec.layers, scale_synthesis(codec.config))
    return {**codec.params, SCALE_SYNTHESIS: of_integers}
