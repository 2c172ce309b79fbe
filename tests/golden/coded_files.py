"""Files that the packaged codecs have written, and what they decode to.

    python -m tests.golden.coded_files

Made once, by the first version that packed these codecs, with JAX 0.5.3. They are not to
be made again: every later version has to read them, with the same pixels, and to write
the same bytes. The pictures are made of integers alone, the same everywhere.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from codec_jax import loading

FOLDER = Path(__file__).parent
PIXELS = FOLDER / "coded_files.npz"


class Case(NamedTuple):
    """A file: of a picture of this size at this rate."""

    codec: str
    height: int
    width: int
    rate: float
    grey: bool

    @property
    def name(self) -> str:
        """Without a suffix."""
        kind = "-grey" * self.grey
        return f"{self.codec}-{self.height}x{self.width}{kind}"

    @property
    def extras(self) -> dict[str, bytes]:
        """What the file holds beside the pixels."""
        return {"grey": b""} if self.grey else {}


CASES = tuple(
    Case(codec, *rest)
    for codec in ("ms64", "ms128")
    for rest in [
        (1, 1, 0.0, False),
        (17, 33, 3.5, False),
        (300, 200, 1.25, False),
        (64, 48, 5.0, True),
    ]
)


def picture(case: Case) -> UInt8[np.ndarray, "h w 3"]:
    """Blocks with soft edges, and a little noise."""
    rng = np.random.default_rng(case.height)
    shape = (case.height // 16 + 2, case.width // 16 + 2, 1 if case.grey else 3)
    x = rng.integers(0, 256, shape).repeat(16, 0).repeat(16, 1)
    for axis in (0, 1):
        x = sum(np.roll(x, k, axis) for k in range(8)) // 8
    x = x[: case.height, : case.width]
    x = x + rng.integers(-3, 4, (case.height, case.width, 1))
    return np.clip(np.broadcast_to(x, (*x.shape[:2], 3)), 0, 255).astype(np.uint8)


def some_rows(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "k w 3"]:
    """Every seventh row, and the last."""
    return pixels[np.unique([*range(0, len(pixels), 7), len(pixels) - 1])]


def main() -> None:
    """Writes them."""
    found = {}
    for case in CASES:
        codec = loading.load(case.codec)
        data = codec.compress(picture(case), case.rate, extras=case.extras)
        (FOLDER / f"{case.name}.cjx").write_bytes(data)
        found[case.name] = some_rows(codec.decompress(data))
        print(case.name, len(data))
    np.savez_compressed(PIXELS, **found)


if __name__ == "__main__":
    main()
