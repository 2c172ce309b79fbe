"""Batches of image crops, from folders of images or from a data set of tfds.

    images = read_folders("photographs", validation_fraction=0.05)["train"]
    for batch in batches(images, crop=256, batch_size=8, seed=0):  # {'image': ...}

Batch k depends on the seed and on k alone.
"""

import concurrent.futures
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from absl import logging

from pim_jax.data import batching
from pim_jax.data.clip_folder import listed
from pim_jax.data.images import SUFFIXES, read_pixels

# First words of the random keys, so that no two uses share numbers.
_ORDER, _ROWS, _VALIDATION = range(3)
_READERS = 4

Images = Sequence[np.ndarray]  # of uint8 (h, w, 3), read when they are asked for


def find_images(folders: str) -> list[Path]:
    """The image files of folders and all their subfolders, sorted, each file once.

    Args:
      folders: paths, separated by commas.

    Raises: FileNotFoundError if there is no such folder, or no image in it; ValueError
      for an empty name, which would be the working directory.
    """
    found: dict[Path, Path] = {}
    for folder in folders.split(","):
        if not folder:
            raise ValueError(
                f"data.image_dir: expected folders with commas, found {folders!r}"
            )
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"data.image_dir: no such folder: {root}")
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise FileNotFoundError(f"no image file ({', '.join(SUFFIXES)}) in {root}")
        # A folder may lie inside another: no file is to be trained on and held out.
        # (`Path.resolve` raises for a link that leads to itself.)
        found |= {Path(os.path.realpath(path)): path for path in files}
    return [*found.values()]


def read_folders(folders: str, validation_fraction: float) -> dict[str, Images]:
    """All images of folders, decoded into memory: 'train' and 'validation'.

    Files that cannot be read are named in the log, counted, and left out. Of the others
    every so many-th is kept for validation, by name. Three bytes for each pixel.

    Args:
      folders: see `find_images`.
      validation_fraction: share of the files for validation, at least one.

    Raises: FileNotFoundError as `find_images`; ValueError if no file can be read, or for a
      fraction that leaves one part empty.
    """
    files = find_images(folders)
    _held_out(len(files), validation_fraction)  # before they are read
    decoded = _decoded(files)
    kept = _held_out(len(decoded), validation_fraction)
    return {
        "train": [image for i, image in enumerate(decoded) if i not in kept],
        "validation": [image for i, image in enumerate(decoded) if i in kept],
    }


def _held_out(count: int, fraction: float) -> set[int]:
    """Which of so many images are for validation."""
    held_out = max(1, round(count * fraction))
    if not 0 <= fraction < 1 or held_out >= count:
        raise ValueError(
            f"data.validation_fraction {fraction} of {count} images "
            "leaves none for training or is outside 0..1"
        )
    return set(np.linspace(0, count - 1, held_out).round().astype(int).tolist())


def _decoded(files: list[Path]) -> list[np.ndarray]:
    """The images that can be read; the log names the others, with the reason.

    Raises: ValueError if there is none.
    """
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(_pixels_or_reason, files))
    reasons = [reason for reason in found if isinstance(reason, str)]
    if len(reasons) == len(files):
        raise ValueError(
            f"data.image_dir: none of the {len(files)} images can be read: "
            + listed(reasons)
        )
    for reason in reasons:
        logging.warning("image skipped: %s", reason)
    if reasons:
        logging.warning("%d of %d images skipped", len(reasons), len(files))
    return [image for image in found if not isinstance(image, str)]


def _pixels_or_reason(path: Path) -> np.ndarray | str:
    try:
        return read_pixels(path)
    except (ValueError, FileNotFoundError) as error:  # a link may lead nowhere
        return str(error)


class TfdsImages(Sequence):  # type: ignore[type-arg]
    """The images of a tfds data set, prepared in the ArrayRecord format.

    Args:
      name: of the data set, such as 'clic'.
      split: such as 'train'.
      data_dir: where tfds keeps its data; None is its own default.

    Raises: ValueError if there is no such data set or split, or no feature 'image' of
      8-bit grey or RGB images.
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None) -> None:
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
            builder.download_and_prepare(file_format="array_record")
        except tfds.core.DatasetNotFoundError as error:
            raise ValueError(f"data.tfds: {error}") from error
        features = builder.info.features
        if "image" not in features or not _is_usual(features["image"]):
            raise ValueError(
                f"data.tfds: {name!r} has {dict(features)}, expected 'image' of 8 bits "
                "with 1 or 3 channels"
            )
        if split not in builder.info.splits:
            raise ValueError(
                f"data.tfds: {name!r} has no split {split!r}, only "
                f"{[*builder.info.splits]}"
            )
        self._source = builder.as_data_source(split=split)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")  # what ends an iteration
        image = self._source[int(index)]["image"]
        return np.broadcast_to(image, (*image.shape[:2], 3))


def _is_usual(feature: Any) -> bool:
    # Its `dtype` would need TensorFlow.
    return feature.np_dtype == np.uint8 and feature.shape[-1:] in ((1,), (3,))


def batches(
    images: Images,
    *,
    crop: int,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    start_step: int = 0,
    scale: tuple[float, float] = (1.0, 2.0),
) -> Iterator[batching.Batch]:
    """Endless batches of random crops, half of them mirrored left to right.

    Batch k depends on (seed, k) alone; every epoch visits all images in a new order.

    Args:
      images: those smaller than the crop are enlarged to it.
      crop: side of the crops in pixels.
      batch_size: crops in the global batch, over all processes.
      seed: of order and crops.
      process_index, process_count: which share of the batch this process gets.
      start_step: number of the first batch.
      scale: range of the window's side in units of the crop; windows are shrunk to the
        crop with antialiasing, which also removes what an earlier codec left in them.

    Returns: iterator of {'image': (batch_size / process_count, crop, crop, 3) uint8}.
    Raises: ValueError if the batch does not divide, for a range that is none, or for a
      crop below 1.
    """
    _check_positive("crop", crop)
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"data.scale must be 0 < low <= high, got {scale}")
    rows = batching.rows_of_process(batch_size, process_index, process_count)

    def batch(step: int) -> batching.Batch:
        chosen = batching.order(len(images), batch_size, seed, _ORDER, step)
        crops = [
            random_crop(
                images[chosen[row]],
                batching.generator(seed, _ROWS, step, row),
                crop,
                scale,
            )
            for row in rows
        ]
        return {"image": np.stack(crops)}

    return batching.ahead(batch, start_step)


def validation_crops(images: Images, n: int, crop: int) -> np.ndarray:
    """A fixed choice of crops at the images' own scale: uint8 (n, crop, crop, 3).

    Raises: ValueError for no crops, or crops of no pixels.
    """
    _check_positive("validation_crops", n)
    _check_positive("validation_crop", crop)
    generators = (batching.generator(0, _VALIDATION, row) for row in range(n))
    return np.stack(
        [
            random_crop(images[row % len(images)], rng, crop, (1.0, 1.0), mirror=False)
            for row, rng in enumerate(generators)
        ]
    )


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"data.{name} is {value}, expected >= 1")


def random_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    crop: int,
    scale: tuple[float, float],
    mirror: bool = True,
) -> np.ndarray:
    """(crop, crop, 3) uint8 from a window of a random size and place."""
    size = np.array(image.shape[:2])
    side = max(1, min(round(crop * rng.uniform(*scale)), *size))
    top, left = rng.integers(0, size - side + 1)
    window = image[top : top + side, left : left + side]
    if side != crop:
        shrunk = PIL.Image.fromarray(np.ascontiguousarray(window)).resize(
            (crop, crop), PIL.Image.Resampling.LANCZOS
        )
        window = np.asarray(shrunk)
    return window[:, ::-1] if mirror and rng.random() < 0.5 else window
