"""All human judgements at hand, in one table: BAPPS, CLIC 2021, votes in a CSV file.

    python eval.py --config=configs/eval_judgements.py --config.metric=psnr,ssim,DIR \
        --config.comparisons=human-jpeg/comparisons.csv
    python eval.py --config=configs/eval_judgements.py --config.bapps_dir=dataset \
        --config.clic_oracle=oracle.csv --config.clic_dir=images

Whatever is named is scored: BAPPS 2AFC for each category with CLIC beside it, human score
and upper limit; JND; preferences that a shift of some pixels changes; and votes on pairs
of versions of a picture (`reference,a,b,votes_b,votes`), with differences to a baseline
and a bootstrap over pictures.

Hardware: any. Time, two CPU cores: for votes on 462 versions of 512x512 a quarter of an
hour for all metrics that need no download together; BAPPS as in `configs/eval_bapps.py`,
and as much again for each shift. Result: tables on the screen,
OUT/judgements.{json,csv,png}, and each distance in OUT/distances, from which the same
command goes on after an interruption.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_judgements.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "judgements"
    # Names, NAME=PATH with weights, or checkpoint folders; with commas.
    config.metric = "psnr,ssim,ms-ssim"
    config.bapps_dir = ""  # the official layout, `2afc/val` and perhaps `jnd/val`
    config.clic_oracle = ""
    config.clic_dir = ""
    config.comparisons = ""  # a CSV file; images are named relative to its folder
    config.baseline = "psnr"  # that differences are taken to; one of `metric`
    config.shifts = (1, 2, 3)  # pixels; () for none
    config.limit = 0  # judgements of each kind, 0 for all
    config.batch_size = 32  # of 64x64 patches; larger images go one by one
    config.resamples = 1000  # of the bootstrap, for 95 % intervals
    config.seed = 0
    config.out = "runs/eval_judgements"
    return config.lock()
