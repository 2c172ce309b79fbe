"""Time and memory that hostile files cost before they are refused.

    python -m tests.benchmarks.hostile_files

Small files with a right checksum that ask for 134 million pixels: the first string is that
of the most probable hyper latents, the second is empty. Each is read in a process of its
own; `before` is what that held before it read the file.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import codec_jax
from codec_jax.coding import bitstream, range_coder
from codec_jax.models.config import HYPER_STRIDE, STRIDE

SIZES = ((11585, 11585), (1, 2**24))


def hostile(codec: codec_jax.TrainedCodec, height: int, width: int) -> bytes:
    """The file."""
    cell = STRIDE * HYPER_STRIDE
    channels = len(codec.tables.offset)
    shape = (-(-height // cell), -(-width // cell), channels)
    best = np.diff(codec.tables.cdf, axis=1).argmax(axis=1) + codec.tables.offset
    first = range_coder.encode(
        np.broadcast_to(best.astype(np.int32), shape),
        np.broadcast_to(np.arange(channels, dtype=np.int32), shape),
        codec.tables,
        "numba",
    )
    packet = bitstream.Packet(
        codec.name, codec.fingerprint, height, width, 0, (first, b"")
    )
    return bitstream.pack(packet)


def most_held() -> float:
    """GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def read(codec: codec_jax.TrainedCodec, path: Path) -> None:
    """Prints what it takes."""
    before, start = most_held(), time.process_time()
    try:
        codec.decompress(path.read_bytes())
    except ValueError as error:
        seconds = time.process_time() - start
        print(
            f"{seconds:.2f} CPU s, {most_held():.2f} GB ({before:.2f} before): {error}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What hostile files cost.")
    parser.add_argument("--codec", default=codec_jax.loading.DEFAULT)
    parser.add_argument("--read", type=Path, help="only this file, in this process")
    given = parser.parse_args()
    codec = codec_jax.load(given.codec)
    if given.read:
        read(codec, given.read)
        return
    for height, width in SIZES:
        with tempfile.NamedTemporaryFile(suffix=".cjx") as file:
            data = hostile(codec, height, width)
            Path(file.name).write_bytes(data)
            print(f"{width} x {height}, {len(data)} bytes", flush=True)
            command = [sys.executable, "-m", "tests.benchmarks.hostile_files"]
            options = [f"--codec={given.codec}", f"--read={file.name}"]
            subprocess.run([*command, *options], check=True)


if __name__ == "__main__":
    main()
