"""Distances as people read them: those of `psnr` in decibels."""

import math

from pim_jax.metrics import METRICS

DECIBELS = "dB"


def unit(metric: str) -> str:
    """The unit that distances of a metric are printed in; "" for none.

    The metric `psnr` returns the squared error, which grows with difference, as all
    metrics do. A number that is called PSNR is read as decibels, which fall with it.
    """
    return DECIBELS if metric in METRICS and METRICS[metric].decibels else ""


def value(metric: str, distance: float) -> float:
    """A distance in the unit that it is printed in.

    Args:
      metric: its name; of a folder, the folder's.
      distance: what the metric returned.

    Returns: of `psnr`, the peak signal-to-noise ratio in dB, infinite at distance 0; of
      all others the distance.
    """
    if not unit(metric) or math.isnan(distance):
        return distance
    return -10 * math.log10(distance) if distance > 0 else math.inf


def text(metric: str, distance: float) -> str:
    """Six digits, with the unit where there is one."""
    return f"{value(metric, distance):.6g} {unit(metric)}".rstrip()
