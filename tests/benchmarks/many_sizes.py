"""Pictures of many sizes in one process: time of the first turn and of later ones, memory.

python -m tests.benchmarks.many_sizes --count=30
"""

import argparse
import time
from pathlib import Path

import numpy as np

import codec_jax


def held() -> float:
    """GB that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**30


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Many sizes in one process.")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--codec", default=codec_jax.loading.DEFAULT)
    given = parser.parse_args()
    codec = codec_jax.load(given.codec)
    sizes = np.random.default_rng(0).integers(64, 800, (given.count, 2))
    print(f"{held():.2f} GB before")
    for turn in ("first", "again"):
        seconds = []
        for height, width in sizes:
            ramp = np.arange(width, dtype=np.uint8)[None, :, None]
            image = np.ascontiguousarray(np.broadcast_to(ramp, (height, width, 3)))
            start = time.process_time()
            codec.decompress(codec.compress(image, 1.0))
            seconds.append(time.process_time() - start)
        print(
            f"{turn}: {np.mean(seconds):.2f} CPU s a picture, {np.median(seconds):.2f} "
            f"the median, {held():.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
