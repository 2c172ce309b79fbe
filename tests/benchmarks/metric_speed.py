"""Speed of the metrics beside published implementations, on the same images.

    python -m tests.benchmarks.metric_speed --out=runs/metric_speed.json \
        --metrics_python=PATH   # or the environment variable METRICS_PYTHON
    python -m tests.benchmarks.metric_speed --out=FILE --metrics=gmsd,vsi

PATH is a Python with `pip install piq lpips pytorch-msssim DISTS-pytorch`. Every metric of
METRICS is compiled and timed at 512x768, one pair, and at 64x64, 16 pairs; networks whose
weights would be downloaded have random ones. Both sides have as many threads, each in a
process of its own, and take turns: while one is timed the other waits. `ratio` is ours by
theirs in one round; below 1 ours is faster. Without PATH ours are timed alone.

`plain` compares a plain call, `metric(a, b)`, which checks the values of the images, with
`jax.jit(metric)`, which does not, in turn as well: a ratio of 1 says that the check and
the way to the compiled program cost nothing that can be measured.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich
from rich.table import Table

from pim_jax.evaluation.tables import Score
from pim_jax.evaluation.tables import Table as Results
from pim_jax.features import backbones, torchvision
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS
from pim_jax.pim import published
from tests.benchmarks import result_files, speed, timing

REFERENCE = Path(__file__).with_name("metric_reference.py")
SIZES = ((1, 512, 768), (16, 64, 64))
# What is called plainly, and images of which size.
PLAIN = ("ssim", "pim-1", "pim-1-small", "lpips-alex")
PLAIN_SIZES = ((1, 64, 64), (1, 256, 256))

# Names of metric_reference.py. Where it needs larger images it says so.
REFERENCES: dict[str, tuple[str, ...]] = {
    "psnr": ("piq.psnr",),
    "ssim": ("piq.ssim",),
    "ms-ssim": ("pytorch_msssim.ms_ssim", "piq.multi_scale_ssim"),
    "gmsd": ("piq.gmsd",),
    "ms-gmsd": ("piq.multi_scale_gmsd",),
    "fsim": ("piq.fsim",),
    "fsimc": ("piq.fsim chromatic",),
    "vsi": ("piq.vsi",),
    "vif": ("piq.vif_p",),
    "lpips-alex": ("lpips alex",),
    "lpips-vgg": ("lpips vgg",),
    "lpips-squeeze": ("lpips squeeze",),
    "dists": ("DISTS_pytorch",),
}

# Other heads on the same backbone take as long.
NAMES = [name for name in METRICS if not name.endswith(("-v0.0", "-baseline"))]


class Reference:
    """The published implementations in another process.

    Args:
      python: a Python that has them.
      threads: how many it may use.

    Raises:
      ValueError: it does not run there; the message has the end of what it said.
    """

    def __init__(self, python: str, threads: int) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(REFERENCE), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.about: dict[str, Any] = self._answer()

    def missing(self, name: str, size: Sequence[int]) -> str:
        """Why it cannot do this; empty if it can."""
        return str(self._asked(name, size).get("missing", ""))

    def call(self, name: str, size: Sequence[int]) -> float:
        """Does it once there; seconds."""
        return float(self._asked(name, size)["seconds"])

    def _asked(self, name: str, size: Sequence[int]) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"name": name, "size": list(size)}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read()[-500:]
            raise ValueError(f"The reference metrics do not run: {said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()


def loaded(names: Sequence[str]) -> tuple[dict[str, Metric], list[str]]:
    """The metrics, networks with random weights, and why some of them are left out."""
    found, skipped = {}, []
    for name in names:
        if name in published.ARCHIVES and not published.is_cached(name):
            skipped.append(f"{name}: its weights are not here")
            continue
        backbone = METRICS[name].backbone
        try:
            if backbone:
                # On random weights it is as fast as on trained ones.
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "random.npz"
                    torchvision.write(path, backbones.random_params(backbone))
                    found[name] = METRICS[name](path)
            else:
                found[name] = METRICS[name]()
        except (FileNotFoundError, ValueError) as error:
            skipped.append(f"{name}: {str(error)[:200]}")
    return found, skipped


def run(
    names: Sequence[str],
    python: str | None,
    seconds: float,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    plain_sizes: Sequence[tuple[int, int, int]] = PLAIN_SIZES,
) -> dict[str, Any]:
    """Times everything; what `main` writes.

    Args:
      names: of METRICS; others are left out.
      python: with the reference implementations, or None.
      seconds: for each comparison.
      sizes: of the images, (n, height, width).
      plain_sizes: of those for plain calls, of the metrics in PLAIN.
    """
    threads = len(os.sched_getaffinity(0))
    metrics, skipped = loaded([name for name in names if name in METRICS])
    reference = Reference(python, threads) if python else None
    result: dict[str, Any] = {
        "environment": {**speed.environment(), "threads": threads},
        "reference": reference.about if reference else {},
        "entries": [],
        "plain": [
            _plain(name, metrics[name], size, seconds)
            for size in plain_sizes
            for name in PLAIN
            if name in metrics
        ],
        "skipped": skipped,
    }
    try:
        for size in sizes:
            for name, metric in metrics.items():
                if min(size[1:]) < metric.minimum_size:
                    result["skipped"].append(f"{name}: {size} is too small")
                    continue
                entry, lines = _timed(name, metric, size, reference, seconds)
                result["entries"].append(entry)
                result["skipped"] += lines
    finally:
        if reference:
            reference.close()
    return result_files.with_tables(result, *result_tables(result["entries"]))


def result_tables(entries: Sequence[dict[str, Any]]) -> list[Results]:
    """One table for each size; a metric has its first reference in its row.

    Further references have rows of their own, "METRIC, REFERENCE".
    """
    sizes: dict[str, dict[str, dict[str, Score]]] = {}
    for entry in entries:
        rows = sizes.setdefault("x".join(map(str, entry["size"])), {})
        name, seconds = entry["name"], entry["seconds"]
        rows[name] = {"ours": result_files.score(seconds[name])}
        for number, (other, ratio) in enumerate(entry["ratios"].items()):
            row = rows.setdefault(f"{name}, {other}" if number else name, {})
            row["theirs"] = result_files.score(seconds[other])
            row["ratio"] = result_files.score(ratio)
    units = {"ours": "s", "theirs": "s", "ratio": ""}
    return [Results(size, units, rows) for size, rows in sizes.items()]


def _plain(
    name: str, metric: Metric, size: tuple[int, int, int], seconds: float
) -> dict[str, Any]:
    """A plain call and `jax.jit` of the metric, in turn."""
    a, b = _images(size)
    compiled = jax.jit(metric)
    calls: dict[str, timing.Call] = {
        "plain": lambda: metric(a, b),
        "compiled": lambda: compiled(a, b),
    }
    taken = timing.in_turn(calls, seconds, least=5)
    return {
        "name": name,
        "size": size,
        "seconds": {k: timing.summary(v)._asdict() for k, v in taken.items()},
        "ratio": timing.ratio(taken["plain"], taken["compiled"])._asdict(),
    }


def _images(size: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    """A pair (n, h, w, 3) of noise on the device."""
    pair = np.random.RandomState(0).rand(2, *size, 3).astype(np.float32)
    return jnp.asarray(pair[0]), jnp.asarray(pair[1])


def _timed(
    name: str,
    metric: Metric,
    size: tuple[int, int, int],
    reference: Reference | None,
    seconds: float,
) -> tuple[dict[str, Any], list[str]]:
    """One metric at one size, with all its references."""
    a, b = _images(size)
    compiled = jax.jit(lambda m, x, y: m(x, y))
    calls: dict[str, timing.Call] = {name: lambda: compiled(metric, a, b)}
    # What the reference itself says it took: without the way there and back.
    reported: dict[str, list[float]] = {}
    skipped = []
    for other in REFERENCES.get(name, ()) if reference else ():
        assert reference
        reason = reference.missing(other, size)
        if reason:
            skipped.append(f"{other} at {size}: {reason}")
            continue
        reported[other] = []
        calls[other] = lambda other=other: reported[other].append(  # type: ignore[misc]
            reference.call(other, size)
        )
    taken = timing.in_turn(calls, seconds, least=5)
    # The first call of each was for warming up.
    taken |= {other: values[1:] for other, values in reported.items()}
    ratios = {other: timing.ratio(taken[name], taken[other]) for other in reported}
    entry = {
        "name": name,
        "size": size,
        "seconds": {k: timing.summary(v)._asdict() for k, v in taken.items()},
        "ratios": {k: v._asdict() for k, v in ratios.items()},
    }
    return entry, skipped


def table(result: dict[str, Any]) -> Table:
    """The result for the screen."""
    shown = Table("", "images", "ours", "reference", "theirs", "ratio", "quartiles")
    for entry in result["entries"]:
        n, height, width = entry["size"]
        ours = entry["seconds"][entry["name"]]["median"]
        start = [entry["name"], f"{n}x{height}x{width}", f"{ours * 1e3:.2f} ms"]
        if not entry["ratios"]:
            shown.add_row(*start)
        for other, ratio in entry["ratios"].items():
            shown.add_row(
                *start,
                other,
                f"{entry['seconds'][other]['median'] * 1e3:.2f} ms",
                f"{ratio['median']:.3f}",
                f"{ratio['lower']:.3f} .. {ratio['upper']:.3f}",
            )
    return shown


def plain_table(result: dict[str, Any]) -> Table:
    """Plain calls for the screen."""
    shown = Table("", "images", "plain", "jax.jit", "ratio", "quartiles")
    for entry in result["plain"]:
        plain, compiled = (
            entry["seconds"][way]["median"] for way in ("plain", "compiled")
        )
        shown.add_row(
            entry["name"],
            "x".join(map(str, entry["size"])),
            f"{plain * 1e3:.2f} ms",
            f"{compiled * 1e3:.2f} ms",
            f"{entry['ratio']['median']:.3f}",
            f"{entry['ratio']['lower']:.3f} .. {entry['ratio']['upper']:.3f}",
        )
    return shown


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast the metrics are here.")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--metrics", default=",".join(NAMES), help="names, by commas")
    parser.add_argument(
        "--metrics_python",
        default=os.environ.get("METRICS_PYTHON"),
        help="a Python with piq and others; default: $METRICS_PYTHON",
    )
    parser.add_argument("--seconds", type=float, default=5, help="for each comparison")
    arguments = parser.parse_args()
    if not arguments.metrics_python:
        rich.print(
            "Nothing to compare with: give --metrics_python=PATH, a Python where `pip "
            "install piq lpips pytorch-msssim DISTS-pytorch` was run."
        )
    names = arguments.metrics.split(",")
    unknown = [name for name in names if name not in METRICS]
    for name in unknown:
        rich.print(f"{name} is no name of METRICS, left out.")
    result = run(names, arguments.metrics_python, arguments.seconds)
    result_files.write(arguments.out, result)
    rich.print(table(result))
    rich.print(plain_table(result))
    for line in result["skipped"]:
        rich.print(f"left out: {line}")


if __name__ == "__main__":
    main()
