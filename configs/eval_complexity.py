"""Complexity of learned codecs: parameters, multiply-accumulates per pixel.

    python eval.py --config=configs/eval_complexity.py --config.models=bls2017,mbt2018-mean

Hardware: any, nothing is computed but counts. Time: some seconds.
Result: a table, and OUT/complexity.{json,csv}; with `curves_dir`, a folder of published
curves, also their BD-rates and OUT/complexity.png. To expect for mbt2018-mean (N = 128,
M = 192): 7.0 million parameters, 48.9 kMAC/px to encode and 47.6 to decode.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The settings; there are no variants."""
    if variant:
        raise ValueError(
            f"configs/eval_complexity.py has no variant {variant!r}, nor any other"
        )
    config = ml_collections.ConfigDict()
    config.evaluation = "complexity"
    # Keys of codec_jax.models.architectures.NAMED, with commas.
    config.models = "bls2017,bmshj2018-factorized,bmshj2018-hyperprior,mbt2018-mean"
    # Published rate-distortion curves as text files, for BD-rates and a picture.
    config.curves_dir = ""
    config.out = "runs/eval_complexity"
    return config.lock()
