"""Time and memory that a large image takes, by way of a file and back.

    python -m tests.benchmarks.large_image --side=8000

The picture is made here: waves and noise. Memory is the most that the process has held at
once, with everything that is loaded; `before` is what it held before it began.
"""

import argparse
import resource
import time

import numpy as np

import codec_jax


def picture(side: int) -> np.ndarray:
    """uint8 (side, side, 3), made row by row to hold no more than itself."""
    random = np.random.default_rng(0)
    image = np.empty((side, side, 3), np.uint8)
    x = np.arange(side)[:, None] * np.array([0.01, 0.02, 0.05])
    for row in range(side):
        waves = 128 + 80 * np.sin(x + row / 90)
        image[row] = np.clip(waves + random.normal(0, 6, waves.shape), 0, 255)
    return image


def most_held() -> float:
    """GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A large image, there and back.")
    parser.add_argument("--side", type=int, default=8000, help="pixels")
    parser.add_argument("--codec", default=codec_jax.loading.DEFAULT)
    given = parser.parse_args()
    codec = codec_jax.load(given.codec)
    image = picture(given.side)
    before, start = most_held(), time.perf_counter()
    data = codec.compress(image)
    compressed, between = time.perf_counter(), most_held()
    decoded = codec.decompress(data)
    end, after = time.perf_counter(), most_held()
    rows = zip(image, decoded, strict=True)  # a float copy would hold gigabytes
    error = np.mean([np.mean((a - np.float32(b)) ** 2) for a, b in rows])
    print(f"{given.side} x {given.side}, {8 * len(data) / image[..., 0].size:.3f} bpp,")
    print(f"PSNR {10 * np.log10(255**2 / error):.2f} dB")
    print(
        f"compress   {compressed - start:6.1f} s, {between:.2f} GB ({before:.2f} before)"
    )
    print(f"decompress {end - compressed:6.1f} s, {after:.2f} GB")


if __name__ == "__main__":
    main()
