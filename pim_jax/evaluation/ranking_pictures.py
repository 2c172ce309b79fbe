"""Pictures of a ranking: the versions, and a chart of who ranks them how."""

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pim_jax.evaluation.ranking import Version


def pictures(
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
    shown["ranks by each metric: 1 (light) is closest"] = chart(ranks)
    return shown


def chart(ranks: Mapping[str, Mapping[str, float]]) -> np.ndarray:
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
        colour = "black" if rank <= len(names) / 2 else "white"
        axis.text(column, row, f"{rank:g}", ha="center", va="center", color=colour)
    axis.set_xlabel("1 (light) is closest to the photograph")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
