"""A photograph compressed by a learned codec, beside JPEG at the same size.

    python eval.py --config=configs/eval_photograph.py --config.image=photo.png

Hardware: any. Time: some seconds. Result: a table of bytes, bits per pixel and qualities,
the decoded pictures in OUT, and a section of the page that `report` names.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_photograph.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "photograph"
    config.image = ""  # empty: coffee.png (600 x 400) of scikit-image
    config.codec = "qt256"  # name or file of weights
    config.rate = 0.5  # of the codec; 0 is its smallest file
    config.anchor = "jpeg"  # or jpeg444, webp
    config.metrics = "psnr,ms-ssim"  # names or checkpoint folders, with commas
    config.report = ""  # a report.html that gets a section
    config.out = "runs/eval_photograph"
    return config.lock()
