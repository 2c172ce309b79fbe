"""Votes on which of two versions of a picture is closer to it, from a CSV file.

The columns `reference,a,b,votes_b,votes` have a header; files are named relative to the
CSV file's folder, and `votes_b` of `votes` raters found b closer. Most comparisons may
have a single vote: votes are counted, shares are not regressed on.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from pim_jax.data import images
from pim_jax.data.bapps_folder import Example

COLUMNS = ("reference", "a", "b", "votes_b", "votes")


class Comparison(NamedTuple):
    """One row of the file."""

    reference: str
    a: str
    b: str
    votes_b: int
    votes: int


def read_comparisons(path: str | Path) -> list[Comparison]:
    """The rows of a CSV file of votes, as other programs write it or as Excel does.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a column is missing, there is no row, or a row's votes are not integers
        with 0 <= votes_b <= votes and votes > 0.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file of comparisons: {path}")
    # Excel begins a file with a mark of the encoding, which is no part of a name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        # In countries with decimal commas it separates cells by semicolons.
        delimiter = ";" if ";" in file.readline() else ","
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} lacks the columns {missing}; expected {COLUMNS}")
        rows = [
            _row([row[name] for name in COLUMNS], f"row {number} of {path}")
            for number, row in enumerate(reader, start=1)
        ]
    if not rows:
        raise ValueError(f"expected comparisons in {path}, found none")
    return rows


def _row(cells: list[str | None], where: str) -> Comparison:
    votes = [cell.strip() for cell in cells[3:] if cell is not None]
    if len(votes) != 2 or not all(vote.isdecimal() for vote in votes):
        raise ValueError(
            f"expected two whole numbers of votes in {where}, found {cells}"
        )
    for_b, of = (int(vote) for vote in votes)
    if not 0 <= for_b <= of or of == 0:
        raise ValueError(
            f"expected 0 <= votes_b <= votes and votes > 0 in {where}, found {for_b} of "
            f"{of}"
        )
    reference, a, b = (str(cell).strip() for cell in cells[:3])
    return Comparison(reference, a, b, for_b, of)


class Versions:
    """The distinct pairs of a reference and a version of it, as a sequence of examples.

    The same version stands in many comparisons, and its distance is the same in all.
    Items: `reference` and `image`, uint8 (h, w, 3).
    """

    def __init__(self, rows: list[Comparison], folder: str | Path):
        """The files that `rows` name, in `folder`.

        Raises:
          FileNotFoundError: one of them is missing.
        """
        self._folder = Path(folder)
        pairs = {(row.reference, name) for row in rows for name in (row.a, row.b)}
        self.pairs = sorted(pairs)
        images.require(folder, (name for pair in self.pairs for name in pair))

    @property
    def paths(self) -> list[tuple[Path, Path]]:
        """The files of each pair."""
        return [(self._folder / a, self._folder / b) for a, b in self.pairs]

    def __len__(self) -> int:
        """The number of distinct pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        """The two images of a pair."""
        reference, image = self.pairs[index]
        return {
            "reference": images.read_pixels(self._folder / reference),
            "image": images.read_pixels(self._folder / image),
        }
