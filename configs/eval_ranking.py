"""One photograph under eight distortions of equal PSNR: how does each metric rank them?

    python eval.py --config=configs/eval_ranking.py --config.metric=ssim,runs/pim \
        --config.report=runs/pim/report.html

Hardware and time, two CPU cores: half a minute for the defaults. Result: a table of ranks,
OUT/ranking.{json,csv}, the versions and a chart as pictures in OUT, and a section of the
page that `report` names.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_ranking.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "ranking"
    # Names, NAME=PATH with weights, or checkpoint folders, with commas; `all` stands for
    # every metric that needs no download.
    config.metric = "all"
    config.image = ""  # empty: coffee.png of scikit-image
    config.side = 256  # its middle square is resized to so many pixels
    config.psnr = 26.0  # dB, that all versions come near to
    config.report = ""  # a report.html that gets a section
    config.out = "runs/eval_ranking"
    return config.lock()
