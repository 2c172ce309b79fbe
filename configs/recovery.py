"""Reference image recovery: which metrics lead back to the image they compare with?

    python eval.py --config=configs/recovery.py --config.metric=psnr,ssim,pim-1=DIR

Photographs of 64x64 pixels are recovered from noise and from a JPEG by following the
gradient of each metric (`pim_jax/evaluation/recovery.py`).

Hardware and time, two CPU cores: a minute or two for a dozen of metrics without weights,
four for `pim-1-small`. Result: one table for each start, OUT/recovery.{json,csv}, the
pictures that came out (OUT/pictures.png) and curves over the steps (OUT/curves.png).
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/recovery.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "recovery"
    # Names, NAME=PATH with weights, or checkpoint folders; with commas.
    config.metric = "psnr,ssim,ms-ssim"
    config.images_dir = ""  # empty: photographs inside scikit-image
    config.images = 3  # how many of them
    config.side = 64  # pixels
    config.steps = 1000
    config.learning_rate = 0.02  # of 1.0, the range of a pixel
    config.final_fraction = 0.01  # what is left of it at the end
    config.jpeg_quality = 10
    config.starts = "noise,jpeg"
    config.seed = 0
    config.out = "runs/recovery"
    return config.lock()
