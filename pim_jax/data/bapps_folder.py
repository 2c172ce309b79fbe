"""BAPPS judgements from a folder in the official layout.

Zhang, Isola, Efros, Shechtman & Wang 2018, https://arxiv.org/abs/1801.03924. The layout,
as the published download script leaves it:

    FOLDER/2afc/{train,val}/SUBSET/{ref,p0,p1}/NNNNNN.png   and   judge/NNNNNN.npy
    FOLDER/jnd/val/SUBSET/{p0,p1}/NNNNNN.png                and   same/NNNNNN.npy

The files of each folder are sorted by name and matched by position. Every patch is
resized to 64x64 with Pillow's antialiased bilinear filter unless it has that size: the
published loader does the same, and the score depends on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from pim_jax.data import images

PATCH = 64
TWO_AFC_VALIDATION = (
    "traditional", "cnn", "superres", "deblur", "color", "frameinterp",
)  # fmt: skip
TWO_AFC_TRAIN = ("traditional", "cnn", "mix")
JND_VALIDATION = ("traditional", "cnn")

Example = dict[str, Any]


@runtime_checkable
class Source(Protocol):
    """A sequence of examples, each a dictionary of NumPy arrays and numbers."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """One example."""
        ...


class Layout(NamedTuple):
    """Where one kind of judgement keeps its files, and what we call them."""

    folder: str
    images: tuple[tuple[str, str], ...]  # (our name, folder name)
    label: tuple[str, str]


TWO_AFC = Layout(
    "2afc",
    (("reference", "ref"), ("image_0", "p0"), ("image_1", "p1")),
    ("judge", "judge"),
)
JND = Layout("jnd", (("image_0", "p0"), ("image_1", "p1")), ("same", "same"))


class FolderSource:
    """One subset in the official layout, read from its files on demand.

    Items are dictionaries with the images, uint8 (64, 64, 3), and the label, float32.
    """

    def __init__(self, folder: Path, layout: Layout):
        """Lists the files of `folder`, such as FOLDER/2afc/val/cnn.

        Raises:
          FileNotFoundError: a folder is missing.
          ValueError: a folder is empty, or they hold different numbers of files.
        """
        self._files = {
            name: _sorted_files(folder / subfolder)
            for name, subfolder in (*layout.images, layout.label)
        }
        self._label = layout.label[0]
        counts = {name: len(files) for name, files in self._files.items()}
        if len(set(counts.values())) > 1 or not all(counts.values()):
            raise ValueError(f"expected equally many files each in {folder}: {counts}")

    def __len__(self) -> int:
        """The number of pairs or triplets."""
        return len(self._files[self._label])

    def __getitem__(self, index: int) -> Example:
        """The images and the label at one position.

        Raises:
          ValueError: a file is damaged, or a label is not one number in [0, 1].
        """
        example: Example = {
            name: images.read_pixels(files[index], PATCH)
            for name, files in self._files.items()
            if name != self._label
        }
        example[self._label] = _read_label(self._files[self._label][index])
        return example


def two_afc_folder(
    data_dir: str | Path, split: str = "val", subsets: Sequence[str] = ()
) -> dict[str, FolderSource]:
    """The 2AFC triplets of a folder in the official layout, by subset.

    Items: `reference`, `image_0`, `image_1` uint8 (64, 64, 3); `judge` float32, the share
    of raters who preferred image 1.

    Args:
      data_dir: the folder that holds `2afc`.
      split: "val" or "train".
      subsets: their names; by default all that are there, the six known ones first.

    Raises:
      FileNotFoundError: no such folder or subset.
      ValueError: the files of a subset do not match.
    """
    return read_layout(data_dir, TWO_AFC, split, subsets, TWO_AFC_VALIDATION)


def jnd_folder(
    data_dir: str | Path, split: str = "val", subsets: Sequence[str] = ()
) -> dict[str, FolderSource]:
    """The JND pairs of a folder in the official layout, by subset.

    Items: `image_0`, `image_1` uint8 (64, 64, 3); `same` float32, the share of raters who
    took them for identical. Arguments and errors as for `two_afc_folder`; the folder
    holds `jnd`.
    """
    return read_layout(data_dir, JND, split, subsets, JND_VALIDATION)


def read_layout(
    data_dir: str | Path,
    layout: Layout,
    split: str,
    subsets: Sequence[str],
    known: Sequence[str],
) -> dict[str, FolderSource]:
    """One source per subset; the known subsets in their customary order."""
    folder = Path(data_dir) / layout.folder / split
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}: expected the official layout, "
            f"{layout.folder}/{split}/SUBSET/..., in {data_dir}"
        )
    if not subsets:
        found = sorted(p.name for p in folder.iterdir() if p.is_dir())
        subsets = [s for s in known if s in found] + [
            s for s in found if s not in known
        ]
    if not subsets:
        raise FileNotFoundError(f"no subset in {folder}")
    return {name: FolderSource(folder / name, layout) for name in subsets}


def _sorted_files(folder: Path) -> list[Path]:
    """The files of a folder, sorted by name, hidden ones left out."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    return sorted(
        p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")
    )


def _read_label(path: Path) -> np.float32:
    """One number in [0, 1] from a .npy file of one element."""
    try:
        values = np.load(path, allow_pickle=False).reshape(-1)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"cannot read the label {path}: {error}") from error
    if values.size != 1 or not 0 <= values[0] <= 1:
        raise ValueError(f"expected one number in [0, 1] in {path}, found {values}")
    return np.float32(values[0])
