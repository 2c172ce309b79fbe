"""What codecs do to images: real files, really decoded, and compared with the original."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pim_jax
from codec_jax.evaluation.classical import Pixels
from pim_jax.data import images
from pim_jax.evaluation.named import names_in
from pim_jax.metrics import pixel, ssim

Progress = Callable[[str], None]
Score = Callable[[Pixels, Pixels], float]


class Coder(NamedTuple):
    """A codec, learned or classical, as it is measured.

    Attributes:
      name: for tables and files.
      settings: qualities or rates, in the codec's own units, smallest file first.
      compress: (image, setting) -> bytes.
      decompress: bytes -> image.
    """

    name: str
    settings: tuple[float, ...]
    compress: Callable[[Pixels, float], bytes]
    decompress: Callable[[bytes], Pixels]


class Measurement(NamedTuple):
    """One image, once through one codec.

    Attributes:
      codec, setting, image: which.
      bytes: length of the whole file.
      bpp: 8 bytes / pixels of the image.
      scores: name -> value.
      encode_seconds, decode_seconds: wall time of the calls.
    """

    codec: str
    setting: float
    image: str
    bytes: int
    bpp: float
    scores: Mapping[str, float]
    encode_seconds: float
    decode_seconds: float


def _on_batches(function: Callable[..., jax.Array]) -> Score:
    """A function of batches in [0, 1] as one of 8-bit images."""
    compiled = jax.jit(function)

    def score(image_a: Pixels, image_b: Pixels) -> float:
        a, b = (jnp.asarray(x[None], jnp.float32) / 255 for x in (image_a, image_b))
        return float(compiled(a, b)[0])

    return score


# Similarities keep their usual direction here; all other metrics are distances.
SIMILARITIES: dict[str, Score] = {
    "psnr": pixel.psnr_of_bytes,
    "ssim": _on_batches(ssim.ssim),
    "ms-ssim": _on_batches(ssim.ms_ssim),
}


def scores_named(text: str) -> dict[str, Score]:
    """Functions of two 8-bit images, of a list with commas.

    PSNR in dB, SSIM and MS-SSIM as similarities; any other name of `pim_jax.METRICS` and
    any folder that `pim_jax.load` reads as that distance.

    Raises:
      ValueError: the list is empty or names one twice; and as `pim_jax.load`.
      FileNotFoundError: as `pim_jax.load`.
    """
    return {
        name: SIMILARITIES[name]
        if name in SIMILARITIES
        else _on_batches(pim_jax.load(name))
        for name in names_in(text, "metrics")
    }


def spread(settings: Sequence[float], count: int) -> tuple[float, ...]:
    """`count` settings from the first to the last, evenly; all for 0 or too many.

    Raises:
      ValueError: a negative count.
    """
    if count < 0:
        raise ValueError(f"expected 0 or more settings, found {count}")
    if not 0 < count < len(settings):
        return tuple(settings)
    places = np.linspace(0, len(settings) - 1, count).round().astype(int)
    return tuple(settings[place] for place in places)


def measure(
    coder: Coder,
    paths: Sequence[Path],
    scores: Mapping[str, Score],
    progress: Progress = lambda text: None,
) -> Iterator[Measurement]:
    """Every image with every setting of a codec.

    Raises:
      ValueError: an image cannot be read or compressed, or comes back with another shape
        or type.
    """
    seen: set[tuple[int, ...]] = set()
    for number, path in enumerate(paths, 1):
        image = images.read_pixels(path)
        if image.shape not in seen:
            # Learned codecs are compiled once for each size; that is not timed.
            coder.decompress(coder.compress(image, coder.settings[0]))
            seen.add(image.shape)
        for setting in coder.settings:
            progress(f"{coder.name} {setting:g}: {path.name}, {number} of {len(paths)}")
            yield _measured(coder, setting, path.name, image, scores)


def _measured(
    coder: Coder,
    setting: float,
    name: str,
    image: Pixels,
    scores: Mapping[str, Score],
) -> Measurement:
    start = time.perf_counter()
    data = coder.compress(image, setting)
    middle = time.perf_counter()
    decoded = coder.decompress(data)
    end = time.perf_counter()
    if decoded.shape != image.shape or decoded.dtype != np.uint8:
        raise ValueError(
            f"{coder.name} {setting:g}: {name} of shape {image.shape} was decoded to "
            f"{decoded.shape} of {decoded.dtype}"
        )
    return Measurement(
        codec=coder.name,
        setting=setting,
        image=name,
        bytes=len(data),
        bpp=8 * len(data) / (image.shape[0] * image.shape[1]),
        scores={key: score(image, decoded) for key, score in scores.items()},
        encode_seconds=middle - start,
        decode_seconds=end - middle,
    )
