"""A picture of colour discrimination: MacAdam's ellipses under those of metrics."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pim_jax.data import macadam
from pim_jax.evaluation.colour import POINTS, Found
from pim_jax.ops import chromaticity

ENLARGED = 10  # as these ellipses usually are
_COLUMNS = 4
_MOST = 0.15  # semi-axes in a panel, for ellipses that have no end


def chromaticity_panels(found: Mapping[str, Found], luminance: float) -> Figure:
    """One panel a metric: in xy, ellipses enlarged 10 times, and the gamut of sRGB.

    A metric's ellipses are scaled together to the mean area (geometric) of the data's.

    Args:
      found: as from `colour.run`.
      luminance: that was used there.
    """
    data = macadam.ellipses()
    rows = -(-len(found) // _COLUMNS)
    columns = min(len(found), _COLUMNS)
    figure = Figure(figsize=(3.4 * columns, 3.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(found) :]:
        axis.axis("off")
    for axis, (name, of) in zip(axes, found.items(), strict=False):
        corners = np.array([*chromaticity.PRIMARIES, chromaticity.PRIMARIES[0]])
        axis.plot(*corners.T, color="0.8", linewidth=0.8)
        _draw(axis, data, color="0.6", linewidth=0.8)
        _draw(axis, _scaled(of, data), color="C3", linewidth=1.0)
        axis.set(xlim=(0, 0.7), ylim=(0, 0.8), aspect="equal", xlabel="x", ylabel="y")
        axis.set_title(name, fontsize=10)
    figure.suptitle(
        f"Grey: MacAdam's ellipses, {ENLARGED} times. Red: of the metric, "
        f"one scale for all, at Y = {luminance:g}",
        fontsize=9,
    )
    return figure


def _scaled(found: Found, data: macadam.Ellipses) -> macadam.Ellipses:
    scale = found.agreement.scale
    if not np.isfinite(scale):  # no areas: as long across as the data on average
        finite = np.where(np.isfinite(found.ellipses.axes), found.ellipses.axes, np.nan)
        scale = np.sqrt(np.prod(data.axes.mean(axis=0))) / np.nanmean(finite)
    axes = np.minimum(found.ellipses.axes * scale, _MOST / ENLARGED)
    return found.ellipses._replace(axes=axes)


def _draw(axis: Any, ellipses: macadam.Ellipses, **options: Any) -> None:
    around = ellipses.centre[:, None] + ENLARGED * ellipses.offsets(POINTS)
    around = np.concatenate([around, around[:, :1]], axis=1)
    axis.plot(around[:, :, 0].T, around[:, :, 1].T, **options)
