"""MacAdam's ellipses: how precisely an observer matches a colour, around 25 colours.

D. L. MacAdam, "Visual sensitivities to color differences in daylight", J. Opt. Soc. Am. 32
(1942), 247-274, observer PGN, as observed. Each ellipse is one standard deviation of
matches at constant luminance, in CIE 1931 xy; a difference that is just noticed is some
three of them.
"""

from typing import NamedTuple

import numpy as np

from pim_jax.io import files

_TABLE = files.packaged("pim_jax.data", "macadam.csv")


class Ellipses(NamedTuple):
    """Ellipses in a plane.

    Attributes:
      centre: (n, 2).
      axes: semi-axes, (n, 2).
      angle: from the first coordinate to the first axis, in radians, (n,).
    """

    centre: np.ndarray
    axes: np.ndarray
    angle: np.ndarray

    def chosen(self, which: np.ndarray) -> "Ellipses":
        """Some of them."""
        return Ellipses(*(x[which] for x in self))

    def offsets(self, points: int) -> np.ndarray:
        """Points on each ellipse minus its centre, (n, points, 2)."""
        turn = 2 * np.pi * np.arange(points) / points
        on_circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        rotation = np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
        return np.einsum("nij,npj->npi", rotation, on_circle * self.axes[:, None])

    @property
    def area(self) -> np.ndarray:
        """Of each, (n,)."""
        return np.pi * np.prod(self.axes, axis=1)


def ellipses() -> Ellipses:
    """The 25 observed ellipses, in units of xy."""
    rows = np.loadtxt(_TABLE, delimiter=",", skiprows=6)
    return Ellipses(rows[:, :2], rows[:, 2:4] / 1000, np.deg2rad(rows[:, 4]))
