"""Checks of trained weights that come as a file of another project."""

from collections.abc import Mapping

import numpy as np


def checked(
    state: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    network: str,
    source: str,
) -> dict[str, np.ndarray]:
    """The arrays as float32, in the order of `shapes`.

    Args:
      state: name -> array, all of the network's and no other.
      shapes: name -> shape.
      network: whose they are, for messages.
      source: where they are from, for messages.

    Raises:
      ValueError: a parameter is missing or unknown, has another shape, or is not finite.
    """
    unknown = sorted(set(state) - set(shapes))
    if unknown:
        raise ValueError(f"{source}: {unknown[0]} is no parameter of {network}")
    found = {}
    for key, shape in shapes.items():
        if key not in state:
            raise ValueError(f"{source}: {key} of {network} is missing")
        array = np.asarray(state[key], np.float32)
        if array.shape != shape:
            raise ValueError(
                f"{source}: {key} has shape {array.shape}, expected {shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{source}: {key} must hold finite numbers")
        found[key] = array
    return found
