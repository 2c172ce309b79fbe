"""Bytes of files beside what the model says they should take.

    python -m tests.benchmarks.file_size --images_dir=kodak --codec=ms64

Of each image at each rate: bits of the whole file, container included, over -log2 of the
probability that the model gives to what it codes (`TrainedCodec.reconstruct`).
"""

import argparse

import jax
import numpy as np
import rich
from rich.table import Table

import codec_jax
from pim_jax.data import images


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="File sizes beside the model's bits.")
    parser.add_argument("--images_dir", required=True)
    parser.add_argument("--codec", default=codec_jax.loading.DEFAULT)
    parser.add_argument("--limit", type=int, default=0, help="images, 0 for all")
    given = parser.parse_args()
    codec = codec_jax.load(given.codec)
    reconstruct = jax.jit(codec.reconstruct)
    paths = images.list_images(given.images_dir)[: given.limit or None]
    shown = Table("rate", "bpp", "file / model", "least", "most")
    for rate in codec.rates:
        bpp, excess = [], []
        for path in paths:
            pixels = images.read_pixels(path)
            bits = 8 * len(codec.compress(pixels, rate))
            expected = reconstruct(np.float32(pixels)[None] / 255, rate)[1].item()
            bpp.append(bits / (pixels.shape[0] * pixels.shape[1]))
            excess.append(100 * (bits / expected - 1))
        values = (f"{np.mean(bpp):.3f}", *map("{:+.2f} %".format, spread(excess)))
        shown.add_row(f"{rate:g}", *values)
    rich.print(f"{given.codec}, {len(paths)} images of {given.images_dir}")
    rich.print(shown)


def spread(values: list[float]) -> tuple[float, float, float]:
    """Mean, least, most."""
    return float(np.mean(values)), min(values), max(values)


if __name__ == "__main__":
    main()
