"""Codecs on Kodak: real files, really decoded, beside classical codecs.

    python eval.py --config=configs/eval_kodak.py --config.codec=jpeg,webp,runs/codec \
        --config.images_dir=kodak

`codec` is a list with commas of classical codecs (jpeg, jpeg444, jpeg2000, webp, jpegxl,
avif, heif, which needs the extra `pim-jax[codecs]`) and of learned ones, by name
or folder. `images_dir` is a folder of any images, such as Kodak's 24.

Hardware: any; learned codecs are faster on an accelerator. Time, on two CPU cores that had
other work too: 30 s for webp, heif and jpegxl with limit=2 and qualities=5; 15 minutes for
all seven classical codecs and one learned one on all 24 images. Columns of seconds mean
something on an idle machine only.
Result: tables of rates, qualities and times, and of BD-rate and BD-PSNR against JPEG
4:2:0; OUT/kodak.{json,csv}, OUT/points.csv, OUT/curves/CODEC.json in CompressAI's format,
and OUT/rate_distortion.png.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_kodak.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "kodak"
    config.codec = "jpeg,jpeg444,jpeg2000,webp"  # names or folders, with commas
    config.metrics = "psnr,ms-ssim"  # names or checkpoint folders, with commas
    config.anchor = "jpeg"  # of the BD figures, measured in any case; empty: none
    config.images_dir = ""
    config.curves_dir = ""  # published curves to draw in, as text files
    config.out = "runs/eval_kodak"
    config.limit = 0  # images, 0 for all
    config.qualities = 0  # of each codec, spread over its ladder; 0 for all
    config.lowest_bpp = 0.0  # of the points that BD figures are made of
    config.highest_bpp = 0.0  # 0: as far as they go
    return config.lock()
