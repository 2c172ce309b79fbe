"""The command `pim-jax`: distance between two images, conversion of weights, metrics.

Exit status: 0 success, 1 some input failed, 2 the command line is wrong, 130 Ctrl-C.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array
from rich.console import Console

from pim_jax import loading
from pim_jax.data.images import read_image
from pim_jax.evaluation import grids, printed
from pim_jax.io import compilation_cache
from pim_jax.io.terminal import UsageError, console, run
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS, Entry
from pim_jax.ops import memory
from pim_jax.pim import checkpoints
from pim_jax.version import __version__

DEFAULT_METRIC = "ssim"


def start() -> int:
    """`main` as a program of its own: with what it compiles kept on disk."""
    compilation_cache.keep()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status (see above).

    Args:
      arguments: in place of those of the process.
    """
    options = _parser().parse_args(arguments)
    return run("pim-jax", lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> None:
    if options.command == "distance":
        _distance(
            options.image_a,
            options.image_b,
            options.metric,
            options.weights,
            options.json,
        )
    elif options.command == "convert":
        _convert(options.source, options.destination, options.half, options.step)
    else:
        _metrics(options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pim-jax",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
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
    _add_json(distance, "an object with the value the metric returned, and as printed")
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
    metrics = commands.add_parser("metrics", help="list the metrics")
    _add_json(metrics, "a list of objects")
    return parser


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print JSON: {what}")


def _distance(
    path_a: Path, path_b: Path, metric: str, weights_path: Path | None, as_json: bool
) -> None:
    image_a, image_b = read_image(path_a), read_image(path_b)
    if image_a.shape != image_b.shape:
        (height_a, width_a, _), (height_b, width_b, _) = image_a.shape, image_b.shape
        raise ValueError(
            f"the images differ in size: {path_a} has {width_a}x{height_a} pixels, "
            f"{path_b} has {width_b}x{height_b}"
        )
    loaded = _loaded(metric, weights_path)
    images = (jnp.asarray(image_a[None]), jnp.asarray(image_b[None]))
    value = float(memory.call(_called, loaded, *images)[0])
    if as_json:
        _print_json(
            {
                "metric": loaded.name,
                "distance": _finite(value),
                "printed": _finite(printed.value(loaded.name, value)),
                "unit": printed.unit(loaded.name),
            }
        )
    else:
        console().print(printed.text(loaded.name, value))


def _loaded(metric: str, weights_path: Path | None) -> Metric:
    try:
        return loading.load(metric, weights_path)
    except loading.UnknownMetricError as error:
        raise UsageError(str(error)) from error


def _called(metric: Metric, image_a: Array, image_b: Array) -> Array:
    return metric(image_a, image_b)


def _convert(source: Path, destination: Path, half: bool, step: int | None) -> None:
    # Before the weights are read.
    if destination.exists() and (
        not destination.is_dir() or any(destination.iterdir())
    ):
        raise UsageError(f"{destination} exists; expected a new or an empty folder")
    params, config = checkpoints.read(source, step)
    seed = checkpoints.initial_seed(source)
    checkpoints.write(destination, params, config, half, seed)


def _metrics(as_json: bool) -> None:
    if as_json:
        _print_json([_known(entry) for entry in METRICS.values()])
        return
    entries = METRICS.values()
    columns = {
        "name": [entry.name for entry in entries],
        "version": [entry.version for entry in entries],
        "distance": [f"{e.smallest:g} .. {e.largest:g}" for e in entries],
        "least size": [f"{entry.minimum_size} px" for entry in entries],
        "gradient": ["yes" if entry.differentiable else "no" for entry in entries],
        "weights": [entry.weights for entry in entries],
        "reference": [entry.reference for entry in entries],
    }
    grids.show(
        Console(),
        [
            grids.Column(title, cells, prose=title == "reference")
            for title, cells in columns.items()
        ],
    )


def _known(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "smallest": _finite(entry.smallest),
        "largest": _finite(entry.largest),
        "minimum_size": entry.minimum_size,
        "differentiable": entry.differentiable,
        "unit": printed.unit(entry.name),
        "weights": entry.weights,
        "reference": entry.reference,
    }


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def _print_json(content: Any) -> None:
    console().print(json.dumps(content, indent=2))


if __name__ == "__main__":
    sys.exit(start())
