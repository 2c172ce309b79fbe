"""Trained weights as arrays of a file: in 16 bits, or in 8 with a step for each column."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from codec_jax.models.config import Storage

_LARGEST_BYTE = 127
# How an architecture stores the weights of a name.
Rule = Callable[[str], Storage]


def arrays_of(params: Any, rule: Rule) -> dict[str, np.ndarray]:
    """Arrays 'params/NAME', or 'bytes/NAME' and 'steps/NAME', of weights.

    Args:
      params: nested dictionaries; 16 bits are used where they hold the values exactly.
      rule: how each is stored.
    """
    found: dict[str, np.ndarray] = {}
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    for name, leaf in sorted(flat.items()):
        array = np.asarray(leaf, np.float32)
        if _in_bytes(name, array, rule):
            found[f"bytes/{name}"], found[f"steps/{name}"] = to_bytes(array)
        else:
            found[f"params/{name}"] = _shortest(array)
    return found


def params_of(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """The inverse of `arrays_of`.

    Args:
      parts: 'params', 'bytes' and 'steps', each with arrays by name.

    Raises:
      ValueError: bytes are no bytes, or steps are missing or do not fit.
    """
    flat = {}
    for name, array in parts["params"].items():
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"params/{name}: expected floats, found {array.dtype}")
        flat[name] = np.asarray(array, np.float32)
    if sorted(parts["bytes"]) != sorted(parts["steps"]):
        raise ValueError("expected steps for each array of bytes, and no others")
    for name, whole in parts["bytes"].items():
        step = parts["steps"][name]
        if whole.dtype != np.int8 or whole.ndim != 2 or step.shape != whole.shape[1:]:
            raise ValueError(
                f"bytes/{name}: expected a matrix of int8 and a step for each column, "
                f"found {whole.dtype} {whole.shape} and {step.shape}"
            )
        flat[name] = from_bytes(whole, step)
    prefixes = {name.rpartition("/")[0] for name in flat}
    if clash := sorted(prefixes & flat.keys()):
        raise ValueError(f"params/{clash[0]} is an array and a group of arrays")
    leaves = {name: jnp.asarray(array) for name, array in flat.items()}
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def rounded(params: Any, rule: Rule) -> dict[str, Any]:
    """Weights as a file will hold them.

    Raises:
      ValueError: weights are not finite, or do not fit 16 bits.
    """
    flat = flax.traverse_util.flatten_dict(dict(params), sep="/")
    kept = {name: _rounded(name, leaf, rule) for name, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(kept, sep="/")


def _rounded(name: str, leaf: Any, rule: Rule) -> Any:
    array = np.asarray(leaf, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite or do not fit 16 bits")
    if rule(name) is Storage.INTEGERS:
        return jnp.asarray(array)
    if _in_bytes(name, array, rule):
        return jnp.asarray(from_bytes(*to_bytes(array)))
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name} has values that do not fit 16 bits")
    return jnp.asarray(half, jnp.float32)


def _in_bytes(name: str, array: np.ndarray, rule: Rule) -> bool:
    """Matrices alone: a step for each column."""
    matrix = name.endswith("/kernel") and array.ndim == 2
    return matrix and rule(name) is Storage.BYTES


def to_bytes(
    matrix: Float[np.ndarray, "i o"],
) -> tuple[Int[np.ndarray, "i o"], Float[np.ndarray, " o"]]:
    """A matrix as int8 times a step for each column, float32.

    The result of `from_bytes` gives the same bytes again.
    """
    matrix = np.asarray(matrix, np.float32)
    largest = np.abs(matrix).max(axis=0)
    step = np.where(largest > 0, largest / np.float32(_LARGEST_BYTE), np.float32(1))
    # Up to 16 significant bits: 127 steps are exact, and the same step comes of them.
    bits = step.astype(np.float32).view(np.uint32)
    step = ((bits + np.uint32(0xFF)) & ~np.uint32(0xFF)).view(np.float32)
    return np.rint(matrix / step[None]).astype(np.int8), step


def from_bytes(
    whole: Int[np.ndarray, "i o"], step: Float[np.ndarray, " o"]
) -> Float[np.ndarray, "i o"]:
    """The inverse of `to_bytes`."""
    return whole.astype(np.float32) * step[None]


def _shortest(weights: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    half = weights.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), weights) else weights
