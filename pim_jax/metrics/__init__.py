"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. `ABOUT[name]` says what is known of
it without loading it. Both tables are written by hand.

The sparse feature fidelity (SFF, Chang 2013) is not among them: it needs a matrix of
filters learned by independent component analysis, which is not to be had.
"""

from collections.abc import Callable

from pim_jax import published
from pim_jax.metric import Metric
from pim_jax.metrics import (
    cw_ssim,
    fsim,
    gmsd,
    ifc,
    mad,
    nlpd,
    pamse,
    pixel,
    ssim,
    vif,
    vsi,
)
from pim_jax.metrics.about import ABOUT, About

METRICS: dict[str, Callable[..., Metric]] = {
    "mse": pixel.load_mse,
    "psnr": pixel.load_psnr,
    "ssim": ssim.load_ssim,
    "ssim-luma": ssim.load_ssim_luma,
    "ms-ssim": ssim.load_ms_ssim,
    "ms-ssim-luma": ssim.load_ms_ssim_luma,
    "nlpd": nlpd.load_nlpd,
    "nlpd-fast": nlpd.load_nlpd_fast,
    "nlpd-gray": nlpd.load_nlpd_gray,
    "vif": vif.load_vif,
    "pamse": pamse.load_pamse,
    "cw-ssim": cw_ssim.load_cw_ssim,
    "gmsd": gmsd.load_gmsd,
    "ms-gmsd": gmsd.load_ms_gmsd,
    "mad": mad.load_mad,
    "ifc": ifc.load_ifc,
    "fsim": fsim.load_fsim,
    "fsimc": fsim.load_fsimc,
    "vsi": vsi.load_vsi,
    "pim-1-published": published.load_pim_1,
    "pim-5-published": published.load_pim_5,
}

__all__ = ["ABOUT", "METRICS", "About"]
