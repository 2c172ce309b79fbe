"""Distances of many pairs of 8-bit images, in compiled batches of one shape.

A metric that has a representation (PIM) computes it once for each image, however many
pairs the image is in; any other metric is called on the pairs.
"""

import concurrent.futures
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.data.bapps_folder import Example, Source
from pim_jax.evaluation.kept import Kept, pair_names
from pim_jax.metric import Metric

_READERS = 4  # threads that decode image files


@runtime_checkable
class Representing(Protocol):
    """A metric whose distance is a comparison of representations of the two images."""

    def represent(self, image: Any) -> Any:
        """Images (n, h, w, 3) in [0, 1] to a pytree of arrays with leading axis n."""
        ...

    def compare(self, a: Any, b: Any) -> Any:
        """Distances (n,) of two such pytrees."""
        ...


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Values in [0, 1].

    On the host: compiled together with a metric, the division would be fused with a
    subtraction, and identical images would no longer have distance 0.
    """
    return pixels.astype(np.float32) / 255


@jax.jit
def _call(metric: Metric, image_a: jax.Array, image_b: jax.Array) -> jax.Array:
    return metric(image_a, image_b)


@jax.jit
def _represent(metric: Representing, image: jax.Array) -> Any:
    return metric.represent(image)


# Apart from the comparison: it compiles anew for every number of images.
@jax.jit
def _take(everything: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[index], everything)


@jax.jit
def _compare(metric: Representing, a: Any, b: Any) -> jax.Array:
    return metric.compare(a, b)


def _chunks(count: int, size: int) -> Iterator[np.ndarray]:
    """Indices 0 to count - 1 in chunks of one size; the last repeats its last index."""
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1)


def pair_distances(
    metric: Metric | Representing | Kept,
    pixels: np.ndarray,
    pairs: np.ndarray,
    batch_size: int = 16,
) -> np.ndarray:
    """Distances of chosen pairs among some images.

    Representations of all images are kept at once: PIM needs up to 3 MB for each 64x64
    image, so pass some hundreds at a time.

    Args:
      metric: the metric; of one that is `Kept`, only those distances are computed that
        are not in its file, to which they are added batch by batch.
      pixels: (m, h, w, 3) uint8.
      pairs: (p, 2) integer positions of image a and image b.
      batch_size: images, or pairs, for one call of the compiled function.

    Returns: (p,) float64. NaN is passed on; the functions of `scores` refuse it.
    """
    pixels, pairs = np.asarray(pixels), np.asarray(pairs, np.int32)
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ValueError(
            f"expected uint8 images (m, h, w, 3), found {pixels.dtype} {pixels.shape}"
        )
    if not isinstance(metric, Kept):
        found = [*_computed(metric, pixels, pairs, batch_size)]
        flat = [np.asarray(distance, np.float64).reshape(-1) for distance in found]
        return np.concatenate([np.empty(0), *flat])[: len(pairs)]
    names = pair_names(pixels, pairs)
    table = metric.store.find(names)
    missing = np.flatnonzero(np.isnan(table))
    computed = _computed(metric.metric, pixels, pairs[missing], batch_size)
    for start, distance in zip(
        range(0, len(missing), batch_size), computed, strict=True
    ):
        chunk = missing[start : start + batch_size]
        table[chunk] = np.asarray(distance, np.float64).reshape(-1)[: len(chunk)]
        metric.store.add([names[i] for i in chunk], table[chunk])
    return table


def _computed(
    metric: Metric | Representing,
    pixels: np.ndarray,
    pairs: np.ndarray,
    batch_size: int,
) -> Iterator[jax.Array]:
    """Distances of pairs in batches of one size, of which the last may be too long."""
    if not len(pairs):
        return
    if isinstance(metric, Representing):
        represented = [
            _represent(metric, _unit(pixels[chunk]))
            for chunk in _chunks(len(pixels), batch_size)
        ]
        everything = jax.tree.map(lambda *x: jnp.concatenate(x), *represented)
        for chunk in _chunks(len(pairs), batch_size):
            a, b = (_take(everything, index) for index in pairs[chunk].T)
            yield _compare(metric, a, b)
    else:
        for chunk in _chunks(len(pairs), batch_size):
            a, b = pixels[pairs[chunk, 0]], pixels[pairs[chunk, 1]]
            yield _call(metric, _unit(a), _unit(b))


def _read(
    source: Source, keys: Sequence[str], batch_size: int
) -> Iterator[tuple[np.ndarray, list[Example]]]:
    """(positions, examples) in batches of one image size, decoded by threads."""
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(source), batch_size):
            positions = range(start, min(start + batch_size, len(source)))
            examples = list(pool.map(source.__getitem__, positions))
            by_shape: dict[tuple[int, ...], list[int]] = {}
            for i, example in enumerate(examples):
                shapes = {example[key].shape for key in keys}
                if len(shapes) > 1:
                    raise ValueError(
                        f"example {start + i}: the images must have one size, found "
                        f"{sorted(shapes)}"
                    )
                by_shape.setdefault(shapes.pop(), []).append(i)
            for members in by_shape.values():
                yield start + np.array(members), [examples[i] for i in members]


def source_distances(
    metric: Metric | Kept,
    source: Source,
    pairs: Sequence[tuple[str, str]],
    batch_size: int = 16,
) -> np.ndarray:
    """Distances between images of each example of a source.

    Args:
      metric: the metric; see `pair_distances`.
      source: examples with uint8 images (h, w, 3).
      pairs: names of image a and image b, for example [("image_0", "image_1")].
      batch_size: examples in one batch.

    Returns: (len(pairs), len(source)) float64.

    Raises:
      ValueError: the images of an example differ in size, or are too small.
    """
    keys = sorted({key for pair in pairs for key in pair})
    table = np.empty((len(pairs), len(source)))
    for positions, examples in _read(source, keys, batch_size):
        # The last batch is filled up with copies, so that everything compiles once.
        filled = examples + examples[-1:] * (batch_size - len(examples))
        pixels = np.stack([example[key] for key in keys for example in filled])
        rows = np.arange(batch_size)
        index = np.concatenate(
            [
                np.stack([keys.index(key) * batch_size + rows for key in pair], axis=1)
                for pair in pairs
            ]
        )
        distance = pair_distances(metric, pixels, index, batch_size)
        table[:, positions] = distance.reshape(len(pairs), -1)[:, : len(examples)]
    return table
