"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. `METRICS[name]` is an `Entry`, which says what is known of the metric
without loading it. Entries are written by hand in the modules of the metrics, ENTRIES of
each; a new module needs a line in _FAMILIES.

Not here, though compared with these elsewhere: MCSD, whose constants its paper alone
states; the GTI-CNN, for lack of code and weights to check with.
"""

from pim_jax.metrics import (
    cw_ssim,
    deepiqa,
    dists,
    fsim,
    gmsd,
    ifc,
    lpips,
    mad,
    nlpd,
    pamse,
    pieapp,
    pim,
    pixel,
    sff,
    ssim,
    vif,
    vsi,
)
from pim_jax.metrics.entry import Entry

# In the order in which they are listed.
_FAMILIES = (
    pixel,
    ssim,
    nlpd,
    vif,
    pamse,
    sff,
    cw_ssim,
    gmsd,
    mad,
    ifc,
    fsim,
    vsi,
    lpips,
    dists,
    pieapp,
    deepiqa,
    pim,
)

METRICS: dict[str, Entry] = {
    entry.name: entry for family in _FAMILIES for entry in family.ENTRIES
}

# The names that both had before version 0.3, for one release.
ABOUT, About = METRICS, Entry

__all__ = ["ABOUT", "METRICS", "About", "Entry"]
