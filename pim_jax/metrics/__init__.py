"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. `ABOUT[name]` says what is known of it without loading it. Both tables
are written by hand.

Not here, though compared with these elsewhere: MCSD, whose constants its paper alone
states; the GTI-CNN, for lack of code and weights to check with.
"""

from collections.abc import Callable

from pim_jax.metric import Metric
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
    pixel,
    sff,
    ssim,
    vif,
    vsi,
)
from pim_jax.metrics.about import ABOUT, About
from pim_jax.pim import packaged, published

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
    "sff": sff.load_sff,
    "cw-ssim": cw_ssim.load_cw_ssim,
    "gmsd": gmsd.load_gmsd,
    "ms-gmsd": gmsd.load_ms_gmsd,
    "mad": mad.load_mad,
    "ifc": ifc.load_ifc,
    "fsim": fsim.load_fsim,
    "fsimc": fsim.load_fsimc,
    "vsi": vsi.load_vsi,
    "lpips-alex": lpips.load_alex,
    "lpips-vgg": lpips.load_vgg,
    "lpips-squeeze": lpips.load_squeeze,
    "lpips-alex-v0.0": lpips.load_alex_v00,
    "lpips-vgg-v0.0": lpips.load_vgg_v00,
    "lpips-squeeze-v0.0": lpips.load_squeeze_v00,
    "lpips-alex-baseline": lpips.load_alex_baseline,
    "lpips-vgg-baseline": lpips.load_vgg_baseline,
    "lpips-squeeze-baseline": lpips.load_squeeze_baseline,
    "dists": dists.load_dists,
    "pieapp": pieapp.load_pieapp,
    "deepiqa": deepiqa.load_deepiqa,
    "pim-1": packaged.load_pim_1,
    "pim-5": packaged.load_pim_5,
    "pim-1-small": packaged.load_pim_1_small,
    "pim-1-published": published.load_pim_1,
    "pim-5-published": published.load_pim_5,
}

__all__ = ["ABOUT", "METRICS", "About"]
