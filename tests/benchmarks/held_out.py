"""What training towards a metric gained: codecs and runs on crops, without files.

    python -m tests.benchmarks.held_out --images_dir=kodak --metric=ms-ssim \\
        --codecs=ms128,runs/ms-ssim

Bits, PSNR and the metric at each rate, as the validation of training has them, of one
crop of every picture; then the BD-rates against the first codec. Means of a metric are
compared as -10 log10 of them, which is a smooth curve as PSNR is.
"""

import argparse

import numpy as np

from codec_jax.evaluation import bjontegaard
from codec_jax.tasks import codec
from pim_jax import losses
from pim_jax.data import image_crops


def curve(scores: dict[str, float], name: str) -> bjontegaard.Curve:
    """Rate against PSNR, or against another metric on a logarithmic scale."""
    rates = range(sum(key.startswith("bpp_") for key in scores))
    bpp, values = (
        np.array([[scores[f"{key}_{rate}"]] for rate in rates]) for key in ("bpp", name)
    )
    return bjontegaard.rate_points(
        bpp, values if name == "psnr" else -10 * np.log10(values)
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Codecs on crops, without files.")
    parser.add_argument("--images_dir", required=True)
    parser.add_argument("--metric", required=True, help="a name of pim_jax.METRICS")
    parser.add_argument(
        "--codecs", required=True, help="with commas, the first anchors"
    )
    parser.add_argument("--crop", type=int, default=176, help="side in pixels")
    given = parser.parse_args()
    pictures = [
        image_crops.read_pixels(path)
        for path in image_crops.find_images(given.images_dir)
    ]
    crops = image_crops.validation_crops(pictures, len(pictures), given.crop)
    distortion = losses.make_distortion(given.metric, (1.0,))
    found = {}
    for name in given.codecs.split(","):
        params, model = freezing.to_train_further(name)
        found[name] = codec.validation_scores(params, model, crops, distortion)
        for key in ("bpp", "psnr", given.metric):
            values = (found[name][f"{key}_{i}"] for i in range(len(model.lambdas)))
            print(f"{name}: {key}", *(f"{value:.4g}" for value in values), flush=True)
    anchor, *others = found
    for name in others:
        for key in ("psnr", given.metric):
            pair = (curve(found[which], key) for which in (anchor, name))
            print(f"{name}, BD-rate by {key}: {bjontegaard.bd_rate(*pair):+.2f} %")


if __name__ == "__main__":
    main()
