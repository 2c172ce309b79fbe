"""Transforms of large arrays piece by piece, without seams.

An output of a stack of convolutions depends on inputs no further away than its receptive
field. So a window is transformed with a margin that wide around what is kept of it, and
windows begin and end where the array does: every kept output sees exactly what it would
see of the whole array.

A compiled program serves arrays of one shape. `Tiles` has the few sides that windows are
filled up to, so that pictures of all sizes share some programs; `bucketed` does it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Transform = Callable[[np.ndarray], tuple[np.ndarray, ...]]
# Of an array that is filled up with zeros, and its rows and columns of cells.
Bucketed = Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, ...]]


class Tiles(NamedTuple):
    """How the arrays of one transform are cut into pieces; all in cells.

    Attributes:
      window: the largest side of a window.
      margin: reach of the receptive field.
      sides: that a window is filled up to, ascending; none: windows are not filled up.
    """

    window: int
    margin: int
    sides: tuple[int, ...] = ()

    def side(self, cells: int) -> int:
        """The side that so many cells are filled up to."""
        return min((side for side in self.sides if side >= cells), default=cells)


class Span(NamedTuple):
    """A window [start, end) of one axis, of whose outputs [first, last) are kept."""

    start: int
    end: int
    first: int
    last: int


def spans(total: int, window: int, margin: int) -> list[Span]:
    """Windows that cover an axis; what they keep covers it once.

    Args:
      total: length of the axis.
      window: length of a window, more than twice the margin.
      margin: what is not kept, except at the ends of the axis.

    Raises:
      ValueError: such windows would keep nothing.
    """
    if window <= 2 * margin:
        raise ValueError(
            f"a window of {window} with margins of {margin} on both sides keeps nothing"
        )
    if total <= window:
        return [Span(0, total, 0, total)]
    found, kept = [], 0
    while kept < total:
        start = min(max(kept - margin, 0), total - window)
        end = start + window
        last = total if end == total else end - margin
        found.append(Span(start, end, kept, last))
        kept = last
    return found


def windows(
    height: int, width: int, window: int, margin: int
) -> Iterator[tuple[Span, Span]]:
    """Pairs of a span of rows and one of columns."""
    for rows in spans(height, window, margin):
        for columns in spans(width, window, margin):
            yield rows, columns


class Piece(NamedTuple):
    """A part of the outputs: `whole[rows, columns]` of each is one of `parts`."""

    rows: slice
    columns: slice
    parts: tuple[np.ndarray, ...]


def tiled(
    transform: Transform,
    x: np.ndarray,
    *,
    cell: tuple[int, int],
    window: int,
    margin: int,
    size: tuple[int, int] | None = None,
    progress: Callable[[int], None] = lambda pixels: None,
) -> tuple[np.ndarray, ...]:
    """`transform(x)`, window by window.

    Args:
      transform, x, cell, window, margin, progress: as for `pieces`.
      size: height and width of the outputs, of which the rest is left out; None: all.
    """
    height, width = (-(-side // cell[0]) * cell[1] for side in x.shape[:2])
    if size is not None:
        height, width = size
    whole: list[np.ndarray] = []
    for rows, columns, parts in pieces(
        transform, x, cell=cell, window=window, margin=margin, progress=progress
    ):
        if not whole:
            whole = [
                np.empty((height, width, part.shape[2]), part.dtype) for part in parts
            ]
        for target, part in zip(whole, parts, strict=True):
            place = target[rows, columns]
            place[...] = part[: place.shape[0], : place.shape[1]]
    return tuple(whole)


def pieces(
    transform: Transform,
    x: np.ndarray,
    *,
    cell: tuple[int, int],
    window: int,
    margin: int,
    progress: Callable[[int], None] = lambda pixels: None,
) -> Iterator[Piece]:
    """`transform(x)` in pieces that cover it once.

    Args:
      transform: (h, w, c) -> arrays (h', w', c'); h / cell[0] = h' / cell[1] where h is
        a multiple of cell[0], rounded up where it is not, and likewise for w.
      x: (h, w, c).
      cell: the sides of a cell in samples of the input and of the output. Windows and
        margins are counted in cells.
      window: side of a window.
      margin: reach of the receptive field.
      progress: told the number of cells done after each window.
    """
    inner, outer = cell
    height, width = (-(-side // inner) for side in x.shape[:2])
    for rows, columns in windows(height, width, window, margin):
        found = transform(
            x[
                rows.start * inner : rows.end * inner,
                columns.start * inner : columns.end * inner,
            ]
        )
        kept = _kept(rows, outer), _kept(columns, outer)
        yield Piece(
            slice(rows.first * outer, rows.last * outer),
            slice(columns.first * outer, columns.last * outer),
            tuple(part[kept] for part in found),
        )
        progress((rows.last - rows.first) * (columns.last - columns.first))


def _kept(span: Span, outer: int) -> slice:
    """Of the outputs of a window."""
    return slice((span.first - span.start) * outer, (span.last - span.start) * outer)


def bucketed(transform: Bucketed, cell: tuple[int, int], tiles: Tiles) -> Transform:
    """A transform of any window, from one of windows that are filled up.

    The last row and column are repeated until cells are whole, as the networks would;
    beyond there are zeros up to a side of `tiles`.

    Args:
      transform: of such an array and its rows and columns of cells. Whatever it gives for
        others is left out.
      cell: as for `pieces`.
      tiles: with the sides.
    """
    inner, outer = cell

    def of_part(part: np.ndarray) -> tuple[np.ndarray, ...]:
        whole = [(0, -side % inner) for side in part.shape[:2]]
        part = np.pad(part, [*whole, (0, 0)], "edge") if any(map(any, whole)) else part
        rows, columns = (side // inner for side in part.shape[:2])
        more = [(0, (tiles.side(n) - n) * inner) for n in (rows, columns)]
        part = np.pad(part, [*more, (0, 0)]) if any(map(any, more)) else part
        found = transform(part, (rows, columns))
        return tuple(array[: rows * outer, : columns * outer] for array in found)

    return of_part


def in_tiles(
    transform: Bucketed,
    x: np.ndarray,
    cell: tuple[int, int],
    tiles: Tiles,
    size: tuple[int, int] | None = None,
    progress: Callable[[int], None] = lambda pixels: None,
) -> tuple[np.ndarray, ...]:
    """`tiled` of a `bucketed` transform, with the windows and margins of `tiles`."""
    return tiled(
        bucketed(transform, cell, tiles),
        x,
        cell=cell,
        window=tiles.window,
        margin=tiles.margin,
        size=size,
        progress=progress,
    )


def counts(cells: tuple[int, int]) -> tuple[np.int32, np.int32]:
    """Rows and columns as arguments of a program, which serves all."""
    return np.int32(cells[0]), np.int32(cells[1])
