"""Images and random weights that networks of two projects are compared on."""

import numpy as np


def images(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """References and images, (2, h, w, 3) in [0, 1], float32: waves and noise."""
    random = np.random.default_rng(3)
    i, j, c = np.meshgrid(*map(np.arange, (height, width, 3)), indexing="ij")
    x = 0.5 + 0.3 * np.sin(0.2 * i + 0.3 * j + c) + 0.1 * np.sin(1.1 * i - 0.7 * j * c)
    x = np.stack([x, random.uniform(0, 1, x.shape)])
    y = np.clip(0.9 * x + 0.1 * random.uniform(0, 1, x.shape), 0, 1)
    return x.astype(np.float32), y.astype(np.float32)


def state(shapes: dict[str, tuple[int, ...]], positive: str) -> dict[str, np.ndarray]:
    """Random weights by the published names, which keep the size of what passes.

    Args:
      shapes: of each.
      positive: the one that weighs windows; not below 0, so that most of them count.
    """
    random = np.random.default_rng(5)
    found = {}
    for name, shape in shapes.items():
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 25
        array = random.standard_normal(shape, np.float32)
        found[name] = array * np.float32(np.sqrt(2 / inputs))
    found[positive] = np.abs(found[positive])
    return found
