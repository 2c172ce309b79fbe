"""How long `codec-jax` takes from a cold start: processes, each with one picture.

    python -m tests.benchmarks.cold_start --out=runs/cold_start.json

For both range coders (TensorFlow's where it is installed), for 768x512 and 64x64 pixels
of a photograph, and for both directions: the first start, with nothing compiled before,
and the best of the next ones. Seconds on the clock, and of all processors together, which
depend less on what else the machine does. That nothing is printed but what belongs there
is checked as well.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import PIL.Image
import skimage.data

from codec_jax.coding import tensorflow_engine

ROOT = Path(__file__).resolve().parents[2]
START = "import sys, pim_jax_start; sys.exit(pim_jax_start.codec())"
SIZES = {"64x64": (64, 64), "768x512": (768, 512)}


def picture(size: tuple[int, int], path: Path) -> None:
    """The photograph of `skimage.data.astronaut` at a size."""
    photograph = PIL.Image.fromarray(skimage.data.astronaut())
    if size == SIZES["64x64"]:
        photograph.crop((200, 60, 264, 124)).save(path)
    else:
        photograph.resize(size).save(path)


def timed(
    program: str, arguments: list[str], root: Path, cache: Path, coder: str | None
) -> dict[str, float]:
    """Seconds on the clock and of the processors for one process."""
    environment = os.environ | {"PYTHONPATH": str(root), "PIM_JAX_CACHE": str(cache)}
    if coder:
        environment["CODEC_JAX_CODER"] = coder
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    lines = len(done.stdout.splitlines()) + len(done.stderr.splitlines())
    return {"wall": wall, "cpu": used, "lines": lines}


def measured(
    program: str, root: Path, repeats: int, options: list[str], coders: list[str | None]
) -> list[dict[str, object]]:
    """A row for each coder, size and direction."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, pixels in SIZES.items():
            source, coded = folder / f"{size}.png", folder / f"{size}.cjx"
            picture(pixels, source)
            jobs = {
                "compress": ["compress", str(source), str(coded), *options],
                "decompress": [
                    *("decompress", str(coded), str(folder / f"{size}-back.png")),
                    *options,
                ],
            }
            for direction, arguments in jobs.items():
                for coder in coders:
                    cache = folder / f"{size}-{direction}-{coder}"
                    runs = [
                        timed(program, arguments, root, cache, coder)
                        for _ in range(1 + repeats)
                    ]
                    best = {
                        key: min(run[key] for run in runs[1:])
                        for key in ("wall", "cpu")
                    }
                    row = {
                        "coder": coder or "default",
                        "picture": size,
                        "command": direction,
                        "first": runs[0],
                        "second": best,
                        "lines": runs[-1]["lines"],
                    }
                    print(json.dumps(row), flush=True)
                    rows.append(row)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, default=ROOT, help="sources to measure")
    parser.add_argument(
        "--before",
        action="store_true",
        help="of sources that have no pim_jax_start: without a choice of the coder",
    )
    options = parser.parse_args()
    if options.before:
        program = "import sys; from codec_jax.cli import main; sys.exit(main())"
        rows = measured(program, options.root, options.repeats, [], [None])
    else:
        coders: list[str | None] = ["ours"]
        if tensorflow_engine.is_installed():
            coders.append("tensorflow")
        rows = measured(START, options.root, options.repeats, ["--force"], coders)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"python": platform.python_version(), "processors": os.cpu_count()}
    options.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
