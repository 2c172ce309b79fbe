"""CLIC 2021 perceptual task: which of two compressed images is closer to the original.

A CSV file of rows O,A,B,T without a header, and a folder with the PNG files it names.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from pim_jax.data import images
from pim_jax.data.bapps_folder import Example


class Triplet(NamedTuple):
    """One row of CLIC 2021: file names, and "0" if A was preferred, "1" if B."""

    original: str
    image_a: str
    image_b: str
    label: str


def read_oracle(oracle: str | Path) -> list[Triplet]:
    """The rows O,A,B,T of a CLIC 2021 oracle, a CSV file without a header.

    Repeated rows are kept; `evaluation.scores.clic_credits` lets the last one win.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no rows, or one without four columns or with a label other than 0 and 1.
    """
    path = Path(oracle)
    if not path.is_file():
        raise FileNotFoundError(f"no such oracle file: {path}")
    # Excel begins a file with a mark of the encoding, which is no part of a name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    if not rows:
        raise ValueError(f"expected rows O,A,B,T in {path}, found none")
    for number, row in enumerate(rows, start=1):
        if len(row) != 4 or row[3] not in ("0", "1"):
            raise ValueError(
                f"expected O,A,B,T with T 0 or 1 in row {number} of {path}, found "
                f"{','.join(row)!r}"
            )
    return [Triplet(*row) for row in rows]


class Oracle:
    """The rows of an oracle as a sequence of examples.

    Items: `reference`, `image_0`, `image_1` uint8 (h, w, 3), mostly 768x768, not resized;
    `label` as in the file.
    """

    def __init__(self, rows: list[Triplet], folder: str | Path):
        """The images are PNG files directly in `folder`.

        Raises:
          FileNotFoundError: one of them is missing.
        """
        self.rows = rows
        self._folder = Path(folder)
        images.require(folder, (name for row in rows for name in row[:3]))

    @property
    def paths(self) -> list[tuple[Path, ...]]:
        """The three files of each row."""
        return [tuple(self._folder / name for name in row[:3]) for row in self.rows]

    def only(self, rows: list[Triplet]) -> "Oracle":
        """Some of the rows, with the images of the same folder."""
        return Oracle(rows, self._folder)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        """The three images of a row and its label."""
        row = self.rows[index]
        return {
            "reference": images.read_pixels(self._folder / row.original),
            "image_0": images.read_pixels(self._folder / row.image_a),
            "image_1": images.read_pixels(self._folder / row.image_b),
            "label": row.label,
        }
