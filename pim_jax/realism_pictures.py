"""A picture of realism: how measures grow with distortions."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pim_jax.data.distortions import DISTORTIONS
from pim_jax.realism_tables import CHECKED, Results


def curves(results: Mapping[str, Results]) -> Figure:
    """A row for each space, a panel for each distortion: values by the strongest one's."""
    shape = len(results), len(CHECKED)
    figure = Figure(figsize=(3.6 * shape[1], 3 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    for row, (space, found) in zip(axes, results.items(), strict=True):
        for axis, name in zip(row, CHECKED, strict=True):
            strengths = [0, *DISTORTIONS[name].strengths]
            for measure, values in found.distorted[name].items():
                last = values[-1] or 1.0
                shares = [v / last for v in (found.natural[measure], *values)]
                axis.plot(strengths, shares, marker=".", label=measure)
            axis.set_title(f"{space}, {name}", fontsize=9)
            axis.set_xlabel(DISTORTIONS[name].unit, fontsize=8)
            axis.axhline(0, color="0.8", linewidth=0.8)
    axes[0, 0].set_ylabel("value / strongest", fontsize=8)
    axes[0, -1].legend(fontsize=7)
    return figure
