"""BAPPS human judgements through tensorflow-datasets: `bapps_2afc` and `bapps_jnd`.

Zhang, Isola, Efros, Shechtman & Wang 2018, https://arxiv.org/abs/1801.03924. With a
network the published archives are downloaded; without one a folder in the official layout
is read (`bapps_folder`). The files written are ArrayRecord with images as PNG, so that
preparing them and reading them back with `as_data_source` work without TensorFlow.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from absl import logging

from pim_jax.data import bapps_folder
from pim_jax.data.bapps_folder import PATCH, Example, FolderSource, Layout, Source
from pim_jax.io import files

_SITE = "https://perceptual-similarity.s3.us-west-2.amazonaws.com/dataset/"


class _Archive(NamedTuple):
    """A file to download: SHA-256 of its bytes, and the folder to unpack it in."""

    name: str
    sha256: str | None
    unpack_in: str


# Addresses: scripts/download_dataset.sh of richzhang/PerceptualSimilarity, which publishes
# no checksums. Those of the two 2AFC files are pinned in a public mirroring script built
# on the tasksource package, and have not been compared with a download of our own; none
# is known for the JND file.
ARCHIVES = {
    "2afc/val": _Archive(
        "twoafc_val.tar.gz",
        "41486671b06de923e7ba277c4797d4d9d86d609863ba35ecdb576133f8b9d859",
        "2afc",
    ),
    "2afc/train": _Archive(
        "twoafc_train.tar.gz",
        "b4f5c772c7cd88ac44bcb4ff0741745d434c05f0094f2bfb262ddcd0055bf393",
        "2afc",
    ),
    "jnd/val": _Archive("jnd.tar.gz", None, ""),
}


def _verify(path: Path, archive: _Archive) -> None:
    """Compares a downloaded file with its SHA-256, or says that none is known.

    tfds could compare only together with the exact size in bytes, which nobody states.
    """
    found = files.digest(path)
    if archive.sha256 is None:
        logging.warning(
            "No SHA-256 is known for %s, so it was not checked; this one has %s",
            archive.name,
            found,
        )
    elif found != archive.sha256:
        raise ValueError(
            f"{archive.name}: expected SHA-256 {archive.sha256}, found {found}"
        )


def _fetch(manager: tfds.download.DownloadManager, part: str, target: Path) -> Path:
    """Downloads, checks and unpacks one archive; the folder in the official layout."""
    archive = ARCHIVES[part]
    file = Path(manager.download(_SITE + archive.name))
    _verify(file, archive)
    folder = target / archive.unpack_in
    folder.mkdir(parents=True, exist_ok=True)
    # Not by tfds, which goes by the name's ending: the script's own `tar -xf` does not.
    with tarfile.open(file, "r:*") as unpacked:
        unpacked.extractall(folder, filter="data")
    return target


class _BappsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders of the two kinds of judgement share.

    Writes ArrayRecord files: `as_data_source(split)` reads them without TensorFlow, for
    splits named val_SUBSET and train_SUBSET.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Optional. If this folder holds `2afc` or `jnd` in the official layout, it is "
        "read and nothing is downloaded."
    )

    layout: Layout

    def __init__(self, **arguments: Any):
        """As every tfds builder, with ArrayRecord as the format of the files."""
        arguments.setdefault("file_format", "array_record")
        super().__init__(**arguments)

    def _parts(self) -> dict[str, tuple[str, ...]]:
        """The splits of the chosen configuration, with the names of their subsets."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(
            shape=(PATCH, PATCH, 3), dtype=np.uint8, encoding_format="png"
        )
        features = {name: image for name, _ in self.layout.images}
        features[self.layout.label[0]] = tfds.features.Scalar(dtype=np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            description=type(self).__doc__,
            homepage="https://github.com/richzhang/PerceptualSimilarity",
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Example]]]:
        manual = _manual_folder(dl_manager)
        generators = {}
        for split, subsets in self._parts().items():
            part = f"{self.layout.folder}/{split}"
            if manual is None:
                target = Path(dl_manager.download_dir) / "bapps"
                folder: Path | None = _fetch(dl_manager, part, target)
            else:
                folder = manual if (manual / part).is_dir() else None
            if folder is None:
                logging.warning("%s holds no %s, which is left out", manual, part)
                continue
            sources = bapps_folder.read_layout(folder, self.layout, split, (), subsets)
            for name, source in sources.items():
                generators[f"{split}_{name}"] = self._generate_examples(source)
        if not generators:
            raise FileNotFoundError(f"{manual} holds no {self.layout.folder}")
        return generators

    def _generate_examples(self, source: FolderSource) -> Iterator[tuple[int, Example]]:
        for index in range(len(source)):
            example = source[index]
            yield (
                index,
                {
                    name: _png(value) if isinstance(value, np.ndarray) else value
                    for name, value in example.items()
                },
            )


class Bapps2afc(_BappsBuilder):
    """BAPPS two-alternative forced choice: which of two patches is closer to a third.

    `judge` is the share of raters who preferred image 1. Validation: six subsets, 36,344
    triplets, 5 raters each. Configuration "full" adds training: three subsets, 151,400
    triplets, 2 raters each, 5.3 GB to download.
    """

    name = "bapps_2afc"
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="val", description="the validation split"),
        tfds.core.BuilderConfig(name="full", description="validation and training"),
    ]
    layout = bapps_folder.TWO_AFC

    def _parts(self) -> dict[str, tuple[str, ...]]:
        parts: dict[str, tuple[str, ...]] = {"val": bapps_folder.TWO_AFC_VALIDATION}
        if self.builder_config.name == "full":
            parts["train"] = bapps_folder.TWO_AFC_TRAIN
        return parts


class BappsJnd(_BappsBuilder):
    """BAPPS just-noticeable differences: whether two patches look the same.

    `same` is the share of raters who took the two for identical. Validation only: two
    subsets, 9,600 pairs, 3 raters each.
    """

    name = "bapps_jnd"
    layout = bapps_folder.JND

    def _parts(self) -> dict[str, tuple[str, ...]]:
        return {"val": bapps_folder.JND_VALIDATION}


def two_afc(data_dir: str | Path = "") -> dict[str, Source]:
    """The 2AFC validation triplets by subset, from wherever they are.

    Args:
      data_dir: a folder in the official layout, or one where tfds prepared `bapps_2afc`.
        If empty, tfds's own folder; what is not there yet is downloaded (1.1 GB).

    Raises:
      FileNotFoundError: neither is in `data_dir`.
    """
    if data_dir and (Path(data_dir) / "2afc").is_dir():
        return dict(bapps_folder.two_afc_folder(data_dir))
    return _prepared(Bapps2afc(data_dir=data_dir or None), data_dir)


def two_afc_train(data_dir: str | Path = "") -> dict[str, Source]:
    """The 2AFC training triplets by subset; as `two_afc` (5.3 GB)."""
    if data_dir and (Path(data_dir) / "2afc").is_dir():
        return dict(bapps_folder.two_afc_folder(data_dir, "train"))
    builder = Bapps2afc(data_dir=data_dir or None, config="full")
    return _prepared(builder, data_dir, "train_")


def jnd(data_dir: str | Path = "") -> dict[str, Source]:
    """The JND validation pairs by subset; as `two_afc` (0.2 GB)."""
    if data_dir and (Path(data_dir) / "jnd").is_dir():
        return dict(bapps_folder.jnd_folder(data_dir))
    return _prepared(BappsJnd(data_dir=data_dir or None), data_dir)


def _prepared(
    builder: _BappsBuilder, data_dir: str | Path, start: str = "val_"
) -> dict[str, Source]:
    """Subsets of one split of a builder; prepared first if no folder was named."""
    if not builder.is_prepared():
        if data_dir:
            raise FileNotFoundError(
                f"{data_dir} holds neither {builder.layout.folder}/val/SUBSET/... in the "
                f"official layout nor {builder.name} prepared by tensorflow-datasets"
            )
        builder.download_and_prepare()
    names = [name for name in builder.info.splits if name.startswith(start)]
    return {
        name.removeprefix(start): builder.as_data_source(split=name) for name in names
    }


def _manual_folder(manager: tfds.download.DownloadManager) -> Path | None:
    """The manual folder, if it holds something in the official layout."""
    try:
        folder = Path(manager.manual_dir)
    except AssertionError:  # tfds's way of saying that it is empty or absent
        return None
    return folder if any((folder / k).is_dir() for k in ("2afc", "jnd")) else None


def _png(pixels: np.ndarray) -> io.BytesIO:
    """A uint8 image as PNG, encoded by Pillow: tfds would use TensorFlow."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "png")
    buffer.seek(0)
    return buffer
