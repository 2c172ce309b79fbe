"""What an evaluation writes: tables as soon as there are some, pictures, and a list."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import PIL.Image

from pim_jax import version
from pim_jax.evaluation import tables
from pim_jax.evaluation.tables import Table


def provenance() -> dict[str, str]:
    """What a file of results says of its origin: the command that is running, the version.

    The command is as it was typed, except for the folder of the Python.
    """
    _, *arguments = sys.orig_argv or [""]
    return {
        "command": shlex.join(["python", *arguments]),
        "version": version.__version__,
    }


class Output:
    """A folder, and what has been written to it.

    Attributes:
      folder: where to.
      written: every file so far, in order.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        about: Mapping[str, Any] | None = None,
    ):
        """Nothing is written yet, but whether it could be is checked.

        Args:
          folder: made with the first file.
          name: stem of the tables' files.
          about: what was run, for the JSON file, which has `provenance` as well.

        Raises:
          NotADirectoryError, PermissionError: no file can be written there.
        """
        self.folder = Path(folder)
        self.written: list[Path] = []
        self._name, self._about = name, {**provenance(), **(about or {})}
        existing = next(
            path
            for path in (self.folder, *self.folder.absolute().parents)
            if path.exists()
        )
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file, expected a folder")
        if not os.access(existing, os.W_OK):
            raise PermissionError(f"nothing can be written to {existing}")

    def path(self, name: str) -> Path:
        """The path of a file that the caller is about to write, noted as written."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self.written:
            self.written.append(path)
        return path

    def figure(
        self, figure: matplotlib.figure.Figure, name: str, dpi: int = 120
    ) -> None:
        """Writes a figure of matplotlib."""
        figure.savefig(self.path(name), dpi=dpi)

    def picture(self, pixels: np.ndarray, name: str) -> None:
        """Writes uint8 (h, w, 3)."""
        PIL.Image.fromarray(pixels).save(self.path(name))

    def content(self, results: Sequence[Table], complete: bool = True) -> str:
        """The JSON file of tables, as text."""
        return tables.content(results, {**self._about, "complete": complete})

    def so_far(self, results: Sequence[Table]) -> None:
        """Writes the tables that there are, as JSON and CSV, while more is computed.

        The JSON file says that it is not complete.
        """
        undrawn = [table._replace(drawn=False) for table in results]
        self._save(undrawn, complete=False)

    def finish(self, results: Sequence[Table]) -> None:
        """Writes all tables, and the pictures of those that are drawn."""
        self._save(results, complete=True)

    def _save(self, results: Sequence[Table], complete: bool) -> None:
        about = {**self._about, "complete": complete}
        for path in tables.save(results, self.folder, self._name, about):
            self.path(path.name)
