"""Parameters of PIM by flat names: their shapes, and nested dictionaries from arrays."""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from pim_jax.pim.model import ModelConfig, param_shapes


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; FileNotFoundError, or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected an object, found {type(found).__name__}")
    return found


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """{'frontend/cnns_0/conv_0/kernel': array, ...} of nested dictionaries."""
    return flax.traverse_util.flatten_dict(dict(params), sep="/")


@functools.cache
def parameter_shapes(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape of every parameter by its flat name, joint encoder included."""
    nested = param_shapes(config)
    return {name: leaf.shape for name, leaf in flatten(nested).items()}


def assemble(
    arrays: Mapping[str, Any],
    config: ModelConfig,
    source: str,
    key_of: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Checked nested parameters, float32, from flat arrays.

    The joint encoder is left out unless all of it is there.

    Args:
      arrays: by key.
      config: the architecture they must fit.
      source: where they are from, for messages.
      key_of: the key of each of our flat names.

    Raises:
      ValueError: a parameter is missing, has another shape, is not floating-point or not
        finite; the message names it with what was found and expected.
    """
    flat: dict[str, Any] = {}
    shapes = parameter_shapes(config)
    absent = [name for name in shapes if key_of(name) not in arrays]
    for name, shape in shapes.items():
        key = key_of(name)
        if name not in absent:
            flat[name] = _checked(arrays[key], shape, f"{source}: {key}")
        elif not name.startswith("joint_encoder/"):
            raise ValueError(
                f"{source}: {key} is missing, expected with shape {shape} for {config}"
            )
    if absent:
        flat = {k: v for k, v in flat.items() if not k.startswith("joint_encoder/")}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _checked(array: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{what} has type {array.dtype}, expected floating point")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} has NaN or infinite values, expected finite ones")
    return array
