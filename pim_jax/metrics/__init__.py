"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. `ABOUT[name]` says what is known of
it without loading it. Both tables are written by hand.
"""

from collections.abc import Callable

from pim_jax import published
from pim_jax.metric import Metric
from pim_jax.metrics import fsim, gmsd, pixel, ssim, vsi
from pim_jax.metrics.about import ABOUT, About

METRICS: dict[str, Callable[..., Metric]] = {
    "mse": pixel.load_mse,
    "psnr": pixel.load_psnr,
    "ssim": ssim.load_ssim,
    "ssim-luma": ssim.load_ssim_luma,
    "ms-ssim": ssim.load_ms_ssim,
    "ms-ssim-luma": ssim.load_ms_ssim_luma,
    "gmsd": gmsd.load_gmsd,
    "ms-gmsd": gmsd.load_ms_gmsd,
    "fsim": fsim.load_fsim,
    "fsimc": fsim.load_fsimc,
    "vsi": vsi.load_vsi,
    "pim-1-published": published.load_pim_1,
    "pim-5-published": published.load_pim_5,
}

__all__ = ["ABOUT", "METRICS", "About"]
