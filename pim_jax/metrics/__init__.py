"""Metrics by name: `METRICS[name](weights=None)` gives a `Metric`.

Every metric takes two batches of images (n, h, w, 3) in [0, 1] and returns (n,) float32,
smaller is closer. `ABOUT[name]` says what is known of
it without loading it. Both tables are written by hand.

PieAPP, DeepIQA and the GTI-CNN, which were compared with these elsewhere, are not here:
each needs trained weights of its own, and a check against its published code that has not
been made.
"""

from collections.abc import Callable

from pim_jax import published
from pim_jax.metric import Metric
from pim_jax.metrics import dists, lpips, pixel, ssim
from pim_jax.metrics.about import ABOUT, About

METRICS: dict[str, Callable[..., Metric]] = {
    "mse": pixel.load_mse,
    "psnr": pixel.load_psnr,
    "ssim": ssim.load_ssim,
    "ssim-luma": ssim.load_ssim_luma,
    "ms-ssim": ssim.load_ms_ssim,
    "ms-ssim-luma": ssim.load_ms_ssim_luma,
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
    "pim-1-published": published.load_pim_1,
    "pim-5-published": published.load_pim_5,
}

__all__ = ["ABOUT", "METRICS", "About"]
