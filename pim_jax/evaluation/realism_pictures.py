"""A picture of realism: how measures grow with distortions."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from pim_jax.data.distortions import DISTORTIONS
from pim_jax.evaluation.realism_checks import CHECKED, Results


def curves(results: Mapping[str, Results]) -> Figure:
    """A row for each space, a panel for each distortion: values by the largest of each.

    The largest in magnitude, so that a curve keeps its direction where values are
    negative, as unbiased measures of sets may be.
    """
    shape = len(results), len(CHECKED)
    figure = Figure(figsize=(3.6 * shape[1], 3 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    for row, (space, found) in zip(axes, results.items(), strict=True):
        for axis, name in zip(row, CHECKED, strict=True):
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
