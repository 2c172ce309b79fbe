"""Colours, lines and markers that tell more than ten curves apart."""

from typing import Any

_COLOURS = 10  # of matplotlib's cycle
_LINES = ("-", "--", ":", "-.")
_MARKERS = "os^vDP*X<>"


def line(number: int, first: int = 0) -> dict[str, Any]:
    """Colour and line of a curve: the colours again need another line.

    Args:
      number: of the curve, from 0; some thirty are told apart.
      first: of the lines, the one that the first ten curves have.
    """
    lines = _LINES[first:]
    return {
        "color": f"C{number % _COLOURS}",
        "linestyle": lines[number // _COLOURS % len(lines)],
    }


def marked(number: int) -> dict[str, Any]:
    """Colour and marker of a curve; a hundred are told apart."""
    marker = _MARKERS[(number + number // _COLOURS) % len(_MARKERS)]
    return {"color": f"C{number % _COLOURS}", "marker": marker}
