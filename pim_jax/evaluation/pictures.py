"""Pictures of the evaluations: colour discrimination, ranking, realism, recovery.

Matplotlib figures, which the runners write, and styles that tell many curves apart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pim_jax.data import macadam
from pim_jax.data.distortions import DISTORTIONS
from pim_jax.evaluation import colour, realism_checks
from pim_jax.evaluation.ranking import Version
from pim_jax.evaluation.recovery import Recovery
from pim_jax.ops import chromaticity

Recoveries = Mapping[str, Mapping[str, Recovery]]  # start -> metric

ENLARGED = 10  # as these ellipses usually are
_COLUMNS = 4  # of panels
_MOST = 0.15  # semi-axes in a panel, for ellipses that have no end

_COLOURS = 10  # of matplotlib's cycle
_LINES = ("-", "--", ":", "-.")
_MARKERS = "os^vDP*X<>"


def chromaticity_panels(found: Mapping[str, colour.Found], luminance: float) -> Figure:
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
        _draw_ellipses(axis, data, color="0.6", linewidth=0.8)
        _draw_ellipses(axis, _at_one_scale(of, data), color="C3", linewidth=1.0)
        axis.set(xlim=(0, 0.7), ylim=(0, 0.8), aspect="equal", xlabel="x", ylabel="y")
        axis.set_title(name, fontsize=10)
    figure.suptitle(
        f"Grey: MacAdam's ellipses, {ENLARGED} times. Red: of the metric, "
        f"one scale for all, at Y = {luminance:g}",
        fontsize=9,
    )
    return figure


def _at_one_scale(found: colour.Found, data: macadam.Ellipses) -> macadam.Ellipses:
    scale = found.agreement.scale
    if not np.isfinite(scale):  # no areas: as long across as the data on average
        finite = np.where(np.isfinite(found.ellipses.axes), found.ellipses.axes, np.nan)
        scale = np.sqrt(np.prod(data.axes.mean(axis=0))) / np.nanmean(finite)
    axes = np.minimum(found.ellipses.axes * scale, _MOST / ENLARGED)
    return found.ellipses._replace(axes=axes)


def _draw_ellipses(axis: Any, ellipses: macadam.Ellipses, **options: Any) -> None:
    around = ellipses.centre[:, None] + ENLARGED * ellipses.offsets(colour.POINTS)
    around = np.concatenate([around, around[:, :1]], axis=1)
    axis.plot(around[:, :, 0].T, around[:, :, 1].T, **options)


def ranking_pictures(
    pixels: np.ndarray,
    versions: Mapping[str, Version],
    ranks: Mapping[str, Mapping[str, float]],
) -> dict[str, np.ndarray]:
    """Caption -> picture, uint8: the photograph, its versions, the chart.

    Args:
      pixels: the photograph.
      versions: distortion -> version.
      ranks: metric -> distortion -> rank.
    """
    shown = {"photograph": pixels}
    for name, version in versions.items():
        of = [rank[name] for rank in ranks.values()]
        caption = (
            f"{name}, {version.psnr:.1f} dB; rank {np.mean(of):.1f} of "
            f"{len(versions)} on average, {min(of):g} to {max(of):g}"
        )
        shown[caption] = version.pixels
    shown["ranks by each metric: 1 (light) is closest"] = ranking_chart(ranks)
    return shown


def ranking_chart(ranks: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Ranks as a coloured table, metrics down, distortions across; uint8 (h, w, 3)."""
    names = list(next(iter(ranks.values())))
    values = np.array([[of[name] for name in names] for of in ranks.values()])
    figure = Figure(figsize=(8, 1.1 + 0.3 * len(ranks)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(values, cmap="viridis_r", aspect="auto", vmin=1, vmax=len(names))
    axis.set_xticks(range(len(names)), names)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(ranks)), list(ranks))
    for (row, column), rank in np.ndenumerate(values):
        ink = "black" if rank <= len(names) / 2 else "white"
        axis.text(column, row, f"{rank:g}", ha="center", va="center", color=ink)
    axis.set_xlabel("1 (light) is closest to the photograph")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def realism_curves(results: Mapping[str, realism_checks.Results]) -> Figure:
    """A row for each space, a panel for each distortion: values by the largest of each.

    The largest in magnitude, so that a curve keeps its direction where values are
    negative, as unbiased measures of sets may be.
    """
    shape = len(results), len(realism_checks.CHECKED)
    figure = Figure(figsize=(3.6 * shape[1], 3 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    for row, (space, found) in zip(axes, results.items(), strict=True):
        for axis, name in zip(row, realism_checks.CHECKED, strict=True):
            strengths = [0, *DISTORTIONS[name].strengths]
            for measure, values in found.distorted[name].items():
                every = np.array([found.natural[measure], *values])
                largest = np.nanmax(np.abs(every))
                shares = every / largest if largest > 0 else every
                axis.plot(strengths, shares, marker=".", label=measure)
            axis.set_title(f"{space}, {name}", fontsize=9)
            axis.set_xlabel(DISTORTIONS[name].unit, fontsize=8)
            axis.axhline(0, color="0.8", linewidth=0.8)
            axis.set_ylim(-1.05 if axis.get_ylim()[0] < -0.1 else -0.05, 1.05)
        row[0].set_ylabel("value / largest magnitude", fontsize=8)
    axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def recovery_grid(results: Recoveries, reference: np.ndarray) -> Figure:
    """For each start a row of pictures, the start and the end of every metric.

    Args:
      results: of which the first image is shown.
      reference: uint8 (n, h, w, 3).
    """
    width = max(len(metrics) for metrics in results.values()) + 2
    figure = Figure(figsize=(1.6 * width, 2.0 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), width, squeeze=False)
    for row, (begin, metrics) in zip(axes, results.items(), strict=True):
        first = next(iter(metrics.values()))
        _show(row[0], reference[0], "reference")
        _show(row[1], first.start[0], f"{begin}\n{first.psnr[0, 0]:.1f} dB")
        for axis, (name, found) in zip(row[2:], metrics.items(), strict=True):
            _show(axis, found.image[0], f"{name}\n{found.psnr[-1, 0]:.1f} dB")
    return figure


def recovery_curves(results: Recoveries) -> Figure:
    """For each start: PSNR, and distance as a share of the first, over the steps."""
    figure = Figure(figsize=(10, 3.6 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 2, squeeze=False)
    for (quality, share), (begin, metrics) in zip(axes, results.items(), strict=True):
        for number, (name, found) in enumerate(metrics.items()):
            style = line_style(number)
            quality.plot(found.psnr.mean(axis=1), label=name, **style)
            share.plot(_shares(found.distance.mean(axis=1)), **style)
        quality.set(title=f"from {begin}", xlabel="step", ylabel="PSNR, dB")
        share.set(yscale="log", xlabel="step", ylabel="distance / first distance")
        # Beside the curves: with a dozen of metrics it would hide some of them.
        share.legend(
            quality.lines,
            [*metrics],
            fontsize=7,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    return figure


def _shares(distance: np.ndarray) -> np.ndarray:
    """Distances by the first one; gaps where they are not above 0, which has no log.

    A metric may be negative (VIF where contrast is raised): such a share says nothing.
    """
    if not distance[0] > 0:
        return np.full(distance.shape, np.nan)
    return np.where(distance > 0, np.maximum(distance / distance[0], 1e-9), np.nan)


def _show(axis: Any, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.axis("off")


def line_style(number: int, first: int = 0) -> dict[str, Any]:
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


def marker_style(number: int) -> dict[str, Any]:
    """Colour and marker of a curve; a hundred are told apart."""
    marker = _MARKERS[(number + number // _COLOURS) % len(_MARKERS)]
    return {"color": f"C{number % _COLOURS}", "marker": marker}
