"""BAPPS: agreement with human judgements (2AFC) and just-noticeable differences (JND).

    python eval.py --config=configs/eval_bapps.py --config.metric=ssim,runs/pim \
        --config.data_dir=dataset

`data_dir` is the folder that the published download script makes (with `2afc/val` and
`jnd/val` in it), or one where tensorflow-datasets has prepared `bapps_2afc` and
`bapps_jnd`. If empty, tensorflow-datasets downloads and prepares them (1.3 GB).

Hardware and time: any; PSNR and SSIM some minutes on two cores for all 36,344 triplets
and 9,600 pairs. PIM-5 needs about 0.1 s for each image there, hours in all: use an
accelerator, or `limit`. Result: tables on the screen, and OUT/bapps.{json,csv,png}.
Published 2AFC scores of PSNR and SSIM, mean of six subsets: 63.2 % and 63.1 % (another
version of SSIM); people 73.9 %.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The settings."""
    config = ml_collections.ConfigDict()
    config.evaluation = "bapps"
    config.metric = "psnr,ssim,ms-ssim"  # names or checkpoint folders, with commas
    config.data_dir = ""
    config.out = "runs/eval_bapps"
    config.parts = "2afc,jnd"
    config.limit = 0  # judgements of each subset, 0 for all
    config.batch_size = 32
    config.resamples = 1000  # of the bootstrap, for 95 % intervals
    config.seed = 0
    return config.lock()
