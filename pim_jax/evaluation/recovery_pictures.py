"""Pictures of reference image recovery: what came out, and how it got there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pim_jax.evaluation import styles
from pim_jax.evaluation.recovery import Recovery

Results = Mapping[str, Mapping[str, Recovery]]  # start -> metric


def grid(results: Results, reference: np.ndarray) -> Figure:
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


def curves(results: Results) -> Figure:
    """For each start: PSNR, and distance as a share of the first, over the steps."""
    figure = Figure(figsize=(10, 3.6 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 2, squeeze=False)
    for (quality, share), (begin, metrics) in zip(axes, results.items(), strict=True):
        for number, (name, found) in enumerate(metrics.items()):
            style = styles.line(number)
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
