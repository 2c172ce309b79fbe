"""Colour discrimination: a metric's ellipses beside those that MacAdam measured.

    python eval.py --config=configs/colour.py --config.metric=psnr,ssim,pim-1=DIR

For uniform patches at the centres of MacAdam's ellipses, as far as sRGB holds them, the
metric tensor of each metric, and of some colour spaces
(`pim_jax/evaluation/colour.py`).

Hardware and time, two CPU cores: seconds for metrics without weights, half a minute for
PIM-1, minutes for PIM-5 at full width. Result: OUT/colour.{json,csv} and ellipses in xy,
OUT/ellipses.png. No space that is known makes equal circles of all 25: expect partial
success.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(f"configs/colour.py has no variant {variant!r}, nor any other")
    config = ml_collections.ConfigDict()
    config.evaluation = "colour"
    # Names, NAME=PATH with weights, or checkpoint folders; with commas.
    config.metric = "psnr,ssim"
    config.untrained = True  # beside each PIM metric, the same one before training
    # Y of the patches, where white has 1. The brighter, the fewer of the centres are
    # inside sRGB: 14 of 25 up to 0.15, 12 at 0.2, 5 at 0.5.
    config.luminance = 0.15
    config.side = 64  # pixels of the uniform patches
    config.out = "runs/colour"
    return config.lock()
