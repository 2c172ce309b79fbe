"""Speed of the distance, its gradient, the training step and the loader, as JSON.

    python -m tests.benchmarks.speed --out=runs/bench.json          # minutes; `make bench`
    python -m tests.benchmarks.speed --out=runs/bench.json --quick  # seconds, tiny sizes
    python -m tests.benchmarks.speed --out=FILE --only='pim-5 1x256' # names with this

Where TensorFlow is installed, the distance is timed in turn with the same computation in
TensorFlow (`tensorflow_reference.py`), with as many threads.
"""

import argparse
import dataclasses
import functools
import importlib.util
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich
from rich.table import Table

from configs import pim
from pim_jax.evaluation import tables
from pim_jax.metric import Metric
from pim_jax.pim.distance import untrained
from pim_jax.pim.model import ModelConfig
from pim_jax.tasks import pim as pim_task
from pim_jax.training import page
from tests.benchmarks import result_files, tensorflow_reference, timing

MODELS = {"pim-1": ModelConfig(mixtures=1), "pim-5": ModelConfig()}
SIZES = ((16, 64, 64), (1, 256, 256), (1, 512, 768))
# Where TensorFlow is timed as well: the sizes that the goal is stated for.
TENSORFLOW_SIZES = SIZES[:2]
# The full width at a batch that two cores take a step of in seconds.
TRAINING: dict[str, dict[str, Any]] = {
    "demo": {},
    "": {"data.batch_size": 4, "data.validation_pairs": 8},
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is timed.

    Attributes:
      models: architectures by name.
      sizes: of images, (n, height, width).
      tensorflow_sizes: where TensorFlow is timed as well.
      training: changes to the variants of configs/pim.py.
      seconds: timed for each group of calls, after compiling.
      products: side of the square matrices whose product shows what the device can do.
    """

    models: dict[str, ModelConfig]
    sizes: tuple[tuple[int, int, int], ...]
    tensorflow_sizes: tuple[tuple[int, int, int], ...]
    training: dict[str, dict[str, Any]]
    seconds: float
    products: int


FULL = Plan(MODELS, SIZES, TENSORFLOW_SIZES, TRAINING, seconds=20, products=2048)
TINY: dict[str, Any] = {
    "frontend": "laplacian",
    "num_scales": 2,
    "filters": (4, 3),
    "z_dim": 3,
}
QUICK = Plan(
    {"tiny": ModelConfig(**TINY, mixtures=2)},
    ((2, 16, 16),),
    (),
    {
        "demo": {
            **{f"model.{key}": value for key, value in TINY.items()},
            "data.crop": 16,
            "data.batch_size": 2,
            "data.validation_pairs": 4,
        }
    },
    seconds=0.2,
    products=64,
)
Entry = dict[str, Any]


def entry(name: str, taken: list[float], flops: float = 0) -> Entry:
    """One line of the result; `flops` of one call."""
    summary = timing.summary(taken)
    rate = {"gflop_per_s": flops / summary.median / 1e9} if flops else {}
    return {"name": name, "unit": "s", **summary._asdict(), **rate}


def images(size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two batches that differ a little, float32."""
    random = np.random.default_rng(0)
    a = random.uniform(size=(*size, 3))
    b = np.clip(a + 0.05 * random.standard_normal(a.shape), 0, 1)
    return a.astype(np.float32), b.astype(np.float32)


@jax.jit
def _distance(metric: Metric, a: Any, b: Any) -> Any:
    return metric(a, b)


@jax.jit
def _gradient(metric: Metric, a: Any, b: Any) -> Any:
    return jax.grad(lambda b: jnp.sum(metric(a, b)))(b)


def distances(
    name: str, config: ModelConfig, size: tuple[int, int, int], plan: Plan
) -> list[Entry]:
    """Distance and gradient, beside TensorFlow's distance where the plan says so."""
    metric = untrained(config)
    a, b = map(jnp.asarray, images(size))
    calls: dict[str, timing.Call] = {"distance": lambda: _distance(metric, a, b)}
    if size in plan.tensorflow_sizes and importlib.util.find_spec("tensorflow"):
        calls["tensorflow distance"] = _in_tensorflow(metric, a, b)
    taken = timing.in_turn(calls, plan.seconds)
    taken |= timing.in_turn({"gradient": lambda: _gradient(metric, a, b)}, plan.seconds)
    n, height, width = size
    one = timing.pass_flops(config, height, width)
    # The gradient with respect to one image takes one more pass, back through it.
    passes = {"distance": 2, "tensorflow distance": 2, "gradient": 3}
    place = f"{name} {n}x{height}x{width}"
    entries = [
        entry(f"{place} {what}", seconds, n * passes[what] * one)
        for what, seconds in taken.items()
    ]
    if "tensorflow distance" in taken:
        found = timing.ratio(taken["distance"], taken["tensorflow distance"])
        what = f"{place} distance / tensorflow distance"
        entries.append({"name": what, "unit": "ratio", **found._asdict()})
    return entries


def _in_tensorflow(metric: Any, a: Any, b: Any) -> timing.Call:
    import tensorflow as tf

    distance = tensorflow_reference.make(metric.params, metric.config)
    a, b = (tf.constant(np.asarray(image)) for image in (a, b))
    return lambda: distance(a, b).numpy()


def training(variant: str, changes: dict[str, Any], plan: Plan) -> list[Entry]:
    """A training step, the loader alone, and how many times faster the loader is."""
    config = pim.get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict(changes)
        config.devices = 1
    made = pim_task.make(config)
    state, key = made.init(jax.random.key(0)), jax.random.key(1)
    batches = made.batches(0, 1, 0)
    batch = next(batches)
    update = jax.jit(made.update)
    (step,) = timing.in_turn(
        {"step": lambda: update(state, batch, key)}, plan.seconds
    ).values()
    loading = _loading(batches, plan.seconds / 4)
    model, crop, n = (
        ModelConfig.from_dict(config.model),
        config.data.crop,
        config.data.batch_size,
    )
    # Forward, and backward to weights and to activations, for both images.
    flops = 6 * n * timing.pass_flops(model, crop, crop, joint=True)
    place = f"training {variant or 'full'} {n}x{crop}x{crop}"
    speed = timing.summary((np.median(step) / np.array(loading)).tolist())
    return [
        entry(f"{place} step", step, flops),
        entry(f"{place} loader", loading),
        {"name": f"{place} loader speed / step", "unit": "ratio", **speed._asdict()},
    ]


def _loading(batches: Iterator[Any], seconds: float, window: int = 50) -> list[float]:
    """Seconds a batch, each over `window` batches, when nothing else is done."""
    for _ in range(window):  # what was made ahead while the step was timed
        next(batches)
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for _ in range(window):
            next(batches)
        taken.append((time.perf_counter() - start) / window)
    batches.close()  # type: ignore[attr-defined]
    return taken


def matrix_product(side: int, seconds: float) -> list[Entry]:
    """The product of two square matrices, float32: what the device can do."""
    a = jnp.ones((side, side))
    multiply = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    (taken,) = timing.in_turn({"product": lambda: multiply(a)}, seconds).values()
    return [entry(f"matrix product {side}x{side}", taken, 2 * side**3)]


def groups(plan: Plan) -> dict[str, Callable[[], list[Entry]]]:
    """What is timed together, by the beginning of the names of its entries."""
    found: dict[str, Callable[[], list[Entry]]] = {
        "matrix product": lambda: matrix_product(plan.products, plan.seconds / 10)
    }
    for name, config in plan.models.items():
        for size in plan.sizes:
            found[f"{name} {'x'.join(map(str, size))}"] = functools.partial(
                distances, name, config, size, plan
            )
    for variant, changes in plan.training.items():
        found[f"training {variant or 'full'}"] = functools.partial(
            training, variant, changes, plan
        )
    return found


def environment() -> dict[str, Any]:
    """Device, versions, threads, and how busy the machine was before."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        processor = names[0] if names else processor
    return {
        **page.environment(),
        "processor": processor,
        "threads": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def table(result: dict[str, Any]) -> Table:
    """The result for the screen."""
    found = result["environment"]
    title = f"{found['devices']}, {found['threads']} threads, jax {found['jax']}"
    shown = Table("", "median", "quartiles", "calls", "GFLOP/s", title=title)
    for line in result["entries"]:
        unit = " s" if line["unit"] == "s" else "×"
        rate = f"{line['gflop_per_s']:.0f}" if "gflop_per_s" in line else ""
        shown.add_row(
            line["name"],
            f"{line['median']:.3g}{unit}",
            f"{line['lower']:.3g} .. {line['upper']:.3g}",
            str(line["repetitions"]),
            rate,
        )
    return shown


# Ends of the names of entries; of several that fit, the first counts.
_MEASURES = {
    "Distance and gradient": {
        "distance / tensorflow distance": "",
        "tensorflow distance": "s",
        "distance": "s",
        "gradient": "s",
    },
    "Training": {"loader speed / step": "", "loader": "s", "step": "s"},
}


def result_tables(entries: list[Entry]) -> list[tables.Table]:
    """Entries as tables: models or trainings down, what was timed across."""
    found = []
    for title, units in _MEASURES.items():
        rows: dict[str, dict[str, tables.Score]] = {}
        for line in entries:
            ends = [
                measure for measure in units if line["name"].endswith(f" {measure}")
            ]
            if ends:
                row = line["name"].removesuffix(f" {ends[0]}")
                rows.setdefault(row, {})[ends[0]] = result_files.score(line)
        found.append(tables.Table(title, units, rows))
    rates = {
        line["name"]: {"rate": tables.Score(line["gflop_per_s"])}
        for line in entries
        if "gflop_per_s" in line
    }
    return [*found, tables.Table("Operations a second", {"rate": "GFLOP/s"}, rates)]


def run(plan: Plan, out: Path, only: str = "") -> dict[str, Any]:
    """Times all of the plan whose name contains `only`; writes after each group."""
    about, entries = {"environment": environment()}, []
    chosen = {name: time_it for name, time_it in groups(plan).items() if only in name}
    if not chosen:
        raise ValueError(f"nothing is called {only!r}; there are {list(groups(plan))}")
    for name, time_it in chosen.items():
        rich.print(f"timing {name} ...")
        entries += time_it()
        result = result_files.with_tables(
            {**about, "entries": entries}, *result_tables(entries)
        )
        result_files.write(out, result)
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast PIM is on this machine.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--only", default="", help="only names that contain this")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    rich.print(table(run(plan, arguments.out, arguments.only)))


if __name__ == "__main__":
    main()
