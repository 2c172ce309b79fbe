"""CLIC 2021 perceptual task: which of two compressed images do people prefer?

    python eval.py --config=configs/eval_clic2021.py --config.metric=ssim,runs/pim \
        --config.data_dir=clic2021/images --config.oracle=clic2021/oracle.csv

`oracle` is a CSV file of rows O,A,B,T without a header (T is 0 if A was preferred, 1 if
B), `data_dir` the folder of the PNG files that it names.

Hardware: any; for PIM an accelerator, or `limit`: validation has 5,220 rows of 768x768.
Time: not measured. Result: a table, and OUT/clic2021.{json,csv,png}. Published for
validation: SSIMULACRA 59.5 %, Butteraugli (3-norm) 67.1 %.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_clic2021.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "clic2021"
    config.metric = "psnr,ssim,ms-ssim"  # names or checkpoint folders, with commas
    config.data_dir = ""
    config.oracle = ""
    config.out = "runs/eval_clic2021"
    config.limit = 0  # rows, 0 for all
    config.batch_size = 1  # the images are large
    config.resamples = 1000
    config.seed = 0
    return config.lock()
