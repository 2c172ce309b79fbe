"""Pictures of reference image recovery: what came out, and how it got there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pim_jax.recovery import Recovery

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
        for name, found in metrics.items():
            quality.plot(found.psnr.mean(axis=1), label=name)
            relative = found.distance.mean(axis=1) / found.distance[0].mean()
            share.plot(np.maximum(relative, 1e-9))
        quality.set(title=f"from {begin}", xlabel="step", ylabel="PSNR, dB")
        share.set(yscale="log", xlabel="step", ylabel="distance / first distance")
        quality.legend(fontsize=7)
    return figure


def _show(axis: Any, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.axis("off")
