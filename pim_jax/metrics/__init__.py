"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. The table is written by hand.
"""

from collections.abc import Callable

from pim_jax import published
from pim_jax.metric import Metric
from pim_jax.metrics import pixel, ssim

METRICS: dict[str, Callable[..., Metric]] = {
    "psnr": pixel.load_psnr,
    "ssim": ssim.load_ssim,
    "ms-ssim": ssim.load_ms_ssim,
    "pim-1-published": published.load_pim_1,
    "pim-5-published": published.load_pim_5,
}

__all__ = ["METRICS"]
