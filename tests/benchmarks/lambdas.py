"""The scale of lambda for a distortion: what a codec's own curve says.

    python -m tests.benchmarks.lambdas --images_dir=photographs --metric=ms-ssim,pim-1

Training for R + lambda D keeps the rates of a codec where lambda is the slope of its
curve, -dR/dD. So a codec that was trained for squared error is measured at all its rates,
and the slope at each is the lambda of a metric that keeps this rate about where it is. Of
'mse' the slopes are to be the codec's own weights; how far they are from them tells how
far to trust the others.

The last line of each metric is the line through the slopes, in logarithms, at the weights
of the published models: what `codec_jax.objective.DISTORTION_LAMBDAS` has.
"""

import argparse
import sys

import numpy as np
from jaxtyping import Float

from codec_jax import loading
from codec_jax.models.config import LAMBDAS
from codec_jax.tasks import codec
from pim_jax import losses
from pim_jax.data import image_crops
from pim_jax.evaluation import named

_AT_ONCE = 2


def slopes(bpp: np.ndarray, distortion: np.ndarray) -> Float[np.ndarray, " n"]:
    """-dR/dD at each point of a curve; logarithms, because these are nearly straight."""
    r, d = (np.gradient(np.log(x), edge_order=2) for x in (bpp, distortion))
    return -(bpp * r) / (distortion * d)


def line(slope: np.ndarray, lambdas: tuple[float, ...]) -> Float[np.ndarray, " 8"]:
    """The slopes at the published weights, by a line through them in logarithms."""
    power, factor = np.polyfit(np.log(lambdas), np.log(slope), 1)
    return np.exp(factor + power * np.log(LAMBDAS))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The scale of lambda for distortions.")
    parser.add_argument("--images_dir", required=True, help="folders with commas")
    parser.add_argument("--metric", required=True, help="names, also NAME=WEIGHTS")
    parser.add_argument("--codec", default=loading.DEFAULT)
    parser.add_argument("--crops", type=int, default=32)
    parser.add_argument("--crop", type=int, default=256, help="side in pixels")
    given = parser.parse_args()
    params, model = loading.to_train_further(given.codec)
    if len(model.lambdas) < 3:
        sys.exit(f"{given.codec} has {len(model.lambdas)} rates, too few for slopes")
    metrics = {"mse": losses.squared_error, **named.by_name(given.metric)}
    measured = losses.Distortion(
        (*metrics,), (*metrics.values(),), (1.0,) * len(metrics)
    )
    files = image_crops.find_images(given.images_dir)
    chosen = [files[i * len(files) // given.crops] for i in range(given.crops)]
    pictures = [image_crops.read_pixels(path) for path in chosen]
    crops = image_crops.validation_crops(pictures, given.crops, given.crop)
    print(f"{given.codec}, {len(crops)} crops of {given.crop} pixels", flush=True)
    sizes, values = [], []
    for rate in range(len(model.lambdas)):
        parts = [
            codec.rounded(params, model, measured, crops[i : i + _AT_ONCE], rate)
            for i in range(0, len(crops), _AT_ONCE)
        ]
        sizes.append(np.mean([bpp for bpp, _, _ in parts]))
        each = [np.mean([part[2][name] for part in parts]) for name in metrics]
        values.append(each)
        print(f"rate {rate}: {sizes[-1]:.4f} bpp,", *each, flush=True)
    for name, found in zip(metrics, np.transpose(values), strict=True):
        slope = slopes(np.array(sizes), found)
        print(f"{name}: values", *(f"{value:.4g}" for value in found))
        print(f"{name}: slopes", *(f"{value:.4g}" for value in slope))
        fitted = line(slope, model.lambdas)
        print(f"{name}: line  ", *(f"{value:.4g}" for value in fitted), flush=True)


if __name__ == "__main__":
    main()
