"""Transforms of large arrays piece by piece, without seams.

An output of a stack of convolutions depends on inputs no further away than its receptive
field. So a window is transformed with a margin that wide around what is kept of it, and
windows begin and end where the array does: every kept output sees exactly what it would
see of the whole array.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Transform = Callable[[np.ndarray], tuple[np.ndarray, ...]]


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


def tiled(
    transform: Transform,
    x: np.ndarray,
    *,
    cell: tuple[int, int],
    window: int,
    margin: int,
    progress: Callable[[int], None] = lambda pixels: None,
) -> tuple[np.ndarray, ...]:
    """`transform(x)`, window by window.

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
    whole: list[np.ndarray] = []
    for rows, columns in windows(height, width, window, margin):
        parts = transform(
            x[
                rows.start * inner : rows.end * inner,
                columns.start * inner : columns.end * inner,
            ]
        )
        if not whole:
            whole = [
                np.empty((height * outer, width * outer, part.shape[2]), part.dtype)
                for part in parts
            ]
        for target, part in zip(whole, parts, strict=True):
            target[
                rows.first * outer : rows.last * outer,
                columns.first * outer : columns.last * outer,
            ] = part[
                (rows.first - rows.start) * outer : (rows.last - rows.start) * outer,
                (columns.first - columns.start) * outer : (columns.last - columns.start)
                * outer,
            ]
        progress((rows.last - rows.first) * (columns.last - columns.first))
    return tuple(whole)
