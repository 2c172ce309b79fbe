"""Grids of text on a console: no number is broken over lines, and nothing is cut."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import rich.cells
import rich.console
import rich.table
import rich.text

# Columns of text that may be broken between words get at least so many characters.
_PROSE = 30
# Names may be paths of any length; broken, they keep at least so many characters.
_NAMES = 16
# A cell has a space on both sides and a line on one; the last line closes the grid.
_AROUND, _CLOSING = 3, 1


class Column(NamedTuple):
    """One column of a grid.

    Attributes:
      title: its head.
      cells: one a row; lines with a break between them.
      right: aligned to the right, as numbers are.
      prose: may be broken between words.
      dim: of each cell, lines from the second on are printed less brightly.
    """

    title: str
    cells: Sequence[str]
    right: bool = False
    prose: bool = False
    dim: bool = False

    @property
    def width(self) -> int:
        """Characters that the longest line takes."""
        lines = [
            line for cell in (self.title, *self.cells) for line in cell.split("\n")
        ]
        return max(rich.cells.cell_len(line) for line in lines)


def show(console: rich.console.Console, columns: Sequence[Column]) -> None:
    """Prints a grid whose first column names the rows.

    On a terminal that is too narrow for it, the columns follow in several grids, each
    with the names before it. In a file or a pipe a grid is as wide as it has to be,
    whatever COLUMNS says.

    Args:
      console: says whether there is a terminal, and how wide it is.
      columns: of equal lengths; the first one holds the names.
    """
    names, *others = columns
    if not console.is_terminal:
        _print(console, [names, *others], None)
        return
    room = console.width - _CLOSING
    widest = max((c.width for c in others if not c.prose), default=0) + _AROUND
    # Only names give way: they can be read when broken, which numbers cannot.
    most = max(room - _AROUND - widest, _NAMES)
    room -= min(names.width, most) + _AROUND
    for block in _blocks(others, room):
        _print(console, [names, *block], most)


def _blocks(columns: Sequence[Column], room: int) -> Iterator[list[Column]]:
    """Columns that fit beside each other, in order; at least one in each block."""
    block: list[Column] = []
    left = room
    for column in columns:
        needed = min(column.width, _PROSE) if column.prose else column.width
        if block and needed + _AROUND > left:
            yield block
            block, left = [], room
        block.append(column)
        left -= needed + _AROUND
    yield block


def _print(
    console: rich.console.Console, columns: Sequence[Column], most: int | None
) -> None:
    """One grid, as wide as the console; wider if its numbers need it.

    Args:
      console: where to.
      columns: names first.
      most: width of the names, if it is limited, and prose is broken to fit; else None.
    """
    grid = rich.table.Table()
    for number, column in enumerate(columns):
        limited = most is not None and number == 0 and column.width > most
        grid.add_column(
            rich.text.Text(column.title),
            justify="right" if column.right else "left",
            no_wrap=not (column.prose or limited),
            overflow="fold",
            max_width=most if limited else None,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(
            *(_text(cell, c.dim) for cell, c in zip(cells, columns, strict=True))
        )
    wanted = [0 if most and column.prose else column.width for column in columns]
    if most is not None:
        wanted[0] = min(wanted[0], most)
    least = sum(width + _AROUND for width in wanted) + _CLOSING
    # A console of its own: rich cuts what its console has no room for.
    width = least if most is None else max(least, console.width)
    rich.console.Console(
        file=console.file,
        width=width,
        force_terminal=console.is_terminal,
        color_system=console.color_system,  # type: ignore[arg-type]
    ).print(grid)


def _text(cell: str, dim: bool) -> rich.text.Text:
    first, *rest = cell.split("\n")
    text = rich.text.Text(first)
    for line in rest:
        text.append("\n" + line, style="dim" if dim else "")
    return text
