"""Image pairs with the statistics of photographs, made from a seed alone.

Both the scripts that compute reference values and the tests draw them, so no image has
to be stored. Equal on every platform: nothing but sums and products of single numbers in
float64, of a random stream that NumPy promises to keep, and rounding to 8 bits.
"""

import numpy as np

# What is done to the second image of each pair, in turn.
DISTORTIONS = ("noise", "blur", "blocks", "colour")


def pairs(
    height: int, width: int, count: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """References and their distorted versions, each (count, height, width, 3) uint8.

    Pair k has the distortion number (seed + k) of DISTORTIONS, counted around.
    """
    references, distorted = [], []
    for k in range(count):
        random = np.random.RandomState(1000 * seed + k)
        image = _picture(random, height, width)
        references.append(image)
        kind = DISTORTIONS[(seed + k) % len(DISTORTIONS)]
        distorted.append(_distort(random, image, kind))
    return _bytes(references), _bytes(distorted)


def unit_pairs(
    height: int, width: int, count: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`pairs` as float32 in [0, 1]."""
    a, b = pairs(height, width, count, seed)
    return a / np.float32(255), b / np.float32(255)


def _bytes(images: list[np.ndarray]) -> np.ndarray:
    return np.clip(np.rint(np.stack(images)), 0, 255).astype(np.uint8)


def _picture(random: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Octaves of smooth colour, with a few discs in front, around 0 .. 255."""
    image = np.full((height, width, 3), 128.0)
    for octave in range(6):
        cell = 96 >> octave
        image += 60 * 0.62**octave * _smooth(random, height, width, cell)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    for _ in range(8):
        y, x, radius = random.rand(3) * (height, width, 0.3 * min(height, width))
        inside = (rows - y) * (rows - y) + (columns - x) * (columns - x) < radius**2
        shift = 120 * (random.rand(3) - 0.5)
        image += inside[..., None] * shift
    return image


def _smooth(
    random: np.random.RandomState, height: int, width: int, cell: int
) -> np.ndarray:
    """Random grey in [-1, 1] with some colour, interpolated between points `cell` apart."""
    shape = height // cell + 2, width // cell + 2
    grid = 1.4 * random.rand(*shape, 1) + 0.6 * random.rand(*shape, 3) - 1
    row, down = np.divmod(np.arange(height), cell)
    column, right = np.divmod(np.arange(width), cell)
    down, right = (down / cell)[:, None, None], (right / cell)[None, :, None]
    between = grid[row] + down * (grid[row + 1] - grid[row])
    return between[:, column] + right * (between[:, column + 1] - between[:, column])


def _distort(random: np.random.RandomState, image: np.ndarray, kind: str) -> np.ndarray:
    height, width, _ = image.shape
    if kind == "noise":
        return image + 40 * (random.rand(*image.shape) - 0.5)
    if kind == "blur":
        for axis in (0, 1, 0, 1):
            image = (np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / 4
        return image
    if kind == "blocks":
        # Every pixel halfway to the top left one of its 8x8 block.
        corner = image[np.arange(height) // 8 * 8][:, np.arange(width) // 8 * 8]
        return (image + corner) / 2
    return 128 + 0.8 * (image - 128) + 30 * (random.rand(3) - 0.5)
