"""The command `pim-jax`: distance between two images, conversion of weights, metrics."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array
from rich.table import Table

from pim_jax import memory, pretrained, published, weight_files, weights
from pim_jax.data.images import read_image
from pim_jax.metric import Metric
from pim_jax.metrics import ABOUT, METRICS
from pim_jax.terminal import console, run

DEFAULT_METRIC = "ssim"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it succeeded, 2 after one line on stderr if it did not.

    Args:
      arguments: in place of those of the process.
    """
    options = _parser().parse_args(arguments)
    return run("pim-jax", lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> None:
    if options.command == "distance":
        _distance(options.image_a, options.image_b, options.metric, options.weights)
    elif options.command == "convert":
        _convert(options.source, options.destination, options.half, options.step)
    else:
        _metrics()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pim-jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    distance = commands.add_parser(
        "distance", help="print the distance of two images of one size"
    )
    distance.add_argument("image_a", type=Path, metavar="A")
    distance.add_argument("image_b", type=Path, metavar="B")
    distance.add_argument(
        "--metric",
        default=DEFAULT_METRIC,
        help="a name (see `pim-jax metrics`) or a folder with weights; default: "
        "%(default)s",
    )
    distance.add_argument(
        "--weights", type=Path, help="weights for a named metric, in place of its own"
    )
    convert = commands.add_parser(
        "convert", help="write the weights of a run or of a published model as npz"
    )
    convert.add_argument("source", type=Path, metavar="SRC", help="folder to read")
    convert.add_argument("destination", type=Path, metavar="OUT", help="new folder")
    convert.add_argument(
        "--half", action="store_true", help="16-bit floats: half the size"
    )
    convert.add_argument(
        "--step",
        type=int,
        help="of a run: its checkpoint of this step; default: newest",
    )
    commands.add_parser("metrics", help="list the metrics")
    return parser


def _distance(
    path_a: Path, path_b: Path, metric: str, weights_path: Path | None
) -> None:
    image_a, image_b = read_image(path_a), read_image(path_b)
    if image_a.shape != image_b.shape:
        (height_a, width_a, _), (height_b, width_b, _) = image_a.shape, image_b.shape
        raise ValueError(
            f"the images differ in size: {path_a} has {width_a}x{height_a} pixels, "
            f"{path_b} has {width_b}x{height_b}"
        )
    loaded = weights.load(metric, weights_path)
    images = (jnp.asarray(image_a[None]), jnp.asarray(image_b[None]))
    value = float(memory.call(_called, loaded, *images)[0])
    console().print(f"{value:.6g}")


def _called(metric: Metric, image_a: Array, image_b: Array) -> Array:
    return metric(image_a, image_b)


def _convert(source: Path, destination: Path, half: bool, step: int | None) -> None:
    params, config = weight_files.read(source, step)
    seed = weight_files.initial_seed(source)
    weight_files.write(destination, params, config, half, seed)


def _metrics() -> None:
    table = Table()
    table.add_column("name", no_wrap=True)
    for title in ("version", "distance", "least size", "gradient", "weights"):
        table.add_column(title)
    table.add_column("reference", ratio=1)
    for name in METRICS:
        about = ABOUT[name]
        table.add_row(
            name,
            about.version,
            f"{about.smallest:g} .. {about.largest:g}",
            f"{about.minimum_size} px",
            "yes" if about.differentiable else "no",
            _weights_needed(name),
            about.reference,
        )
    console().print(table)


def _weights_needed(name: str) -> str:
    about = ABOUT[name]
    backbone = about.backbone
    if about.file:
        return f"{about.file}, to be given"
    if backbone is not None:
        is_there, what = pretrained.is_cached(backbone), f"{backbone} "
    elif name in published.ARCHIVES:
        is_there, what = published.is_cached(name), ""
    else:
        return "none needed"
    return what + ("in the cache" if is_there else "downloaded on first use")
