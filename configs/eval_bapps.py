"""BAPPS: agreement with human judgements (2AFC) and just-noticeable differences (JND).

    python eval.py --config=configs/eval_bapps.py --config.metric=ssim,runs/pim \
        --config.data_dir=dataset

`data_dir` is the folder that the published download script makes (with `2afc/val` and
`jnd/val` in it), or one where tensorflow-datasets has prepared `bapps_2afc` and
`bapps_jnd`. If empty, tensorflow-datasets downloads and prepares them (1.3 GB).

Hardware: any; for PIM an accelerator, or `limit`. Time, estimated and not measured on the
whole set of 36,344 triplets and 9,600 pairs: on two cores minutes for PSNR and SSIM, hours
for PIM. Result: tables on the screen, OUT/bapps.{json,csv,png}, and each distance in
OUT/distances, from which the same command goes on after an interruption. To expect: 2AFC
mean of six subsets 63.2 % for PSNR, human score 73.7 %, upper limit 80.1 % (computed from
published result files, not by this code).
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_bapps.py has no variant {variant!r}, nor any other"
        )
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
