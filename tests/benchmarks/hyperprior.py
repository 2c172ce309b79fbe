"""What the hyperprior of a codec saves.

    python -m tests.benchmarks.hyperprior --images_dir=kodak --codec=ms64

Bits per pixel of the rounded latents of all images together, at each rate:

  channels: each channel with the frequencies that its integers really have in these
    images, the least that any factorized prior could take;
  neighbours: normal distributions whose variance is the mean square of the eight
    neighbours in the same channel (with a twentieth of the channel's own). No receiver
    knows all of these: about what scales that follow the image could reach;
  hyperprior: as they are coded, and beside it what its own hyper latents take.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import rich
import scipy.ndimage
from rich.table import Table

import codec_jax
from codec_jax.entropy import gaussian_conditional
from codec_jax.trained import Latents
from pim_jax.data import images

_OWN = 0.05


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a hyperprior saves.")
    parser.add_argument("--images_dir", required=True)
    parser.add_argument("--codec", default="ms128")
    parser.add_argument("--limit", type=int, default=0, help="images, 0 for all")
    given = parser.parse_args()
    codec = codec_jax.load(given.codec)
    apply = jax.jit(codec.latent_codec.apply, static_argnames="method")
    paths = images.list_images(given.images_dir)[: given.limit or None]
    pictures = [images.read_pixels(path) for path in paths]
    pixels = sum(picture[..., 0].size for picture in pictures)
    variables = {"params": codec.params}
    names = ("channels", "neighbours", "hyperprior", "hyper latents")
    shown = Table("rate", *names)
    for rate in codec.rates:
        latents = [codec.latents(codec.analysed(x, rate), rate) for x in pictures]
        of_hyper = sum(
            -float(
                apply(variables, np.float32(x.hyper)[None], method="log_prior").sum()
            )
            for x in latents
        )
        bits = (*bits_of_latents(latents), of_hyper)
        shown.add_row(f"{rate:g}", *(f"{count / pixels:.4f}" for count in bits))
    rich.print(
        f"{given.codec}, {len(paths)} images of {given.images_dir}, bits per pixel"
    )
    rich.print(shown)


def bits_of_latents(latents: list[Latents]) -> tuple[float, float, float]:
    """By channels, by neighbours, and as coded."""
    values = [np.rint(x.symbols + x.means) for x in latents]
    every = np.concatenate([y.reshape(-1, y.shape[-1]) for y in values])
    energy = np.mean(np.square(every), 0)
    coded = sum(
        -float(
            jnp.sum(
                gaussian_conditional.log2_mass(
                    np.float32(x.symbols), np.float32(x.rows)
                )
            )
        )
        for x in latents
    )
    return (
        sum(_entropy(channel) for channel in every.T),
        sum(_bits_by_neighbours(y, energy) for y in values),
        coded,
    )


def _entropy(integers: np.ndarray) -> float:
    """Of all together, in bits."""
    counts = np.unique(integers, return_counts=True)[1]
    return -float(np.sum(counts * np.log2(counts / counts.sum())))


def _bits_by_neighbours(y: np.ndarray, energy: np.ndarray) -> float:
    square = np.square(y)
    nine = 9 * scipy.ndimage.uniform_filter(square, (3, 3, 1), mode="nearest")
    variance = (1 - _OWN) * (nine - square) / 8 + _OWN * energy
    scale = np.maximum(np.sqrt(np.maximum(variance, 0)), gaussian_conditional.SMALLEST)
    index = jnp.minimum(
        jnp.round(gaussian_conditional.index_of(jnp.asarray(scale))),
        gaussian_conditional.COUNT - 1,
    )
    return -float(jnp.sum(gaussian_conditional.log2_mass(jnp.asarray(y), index)))


if __name__ == "__main__":
    main()
