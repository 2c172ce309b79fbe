"""PieAPP: how much worse than the reference people find an image, from pairwise choices.

Prashnani, Cai, Mostofi & Sen 2018, https://arxiv.org/abs/1806.02067. Equal to `piq.PieAPP`
0.8.0 within 1e-5 on the same weights. The published weights (`PieAPPv0.1.pth`, 250 MB, of
https://github.com/prashnani/PerceptualImageError, also in piq's releases) are not fetched:

    metric = pim_jax.load("pieapp", weights="PieAPPv0.1.pth")

It is no distance: the first image is the reference, what is better than it scores below
zero, and equal images need not score zero.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.features.backbones import max_pool
from pim_jax.io import torch_files
from pim_jax.io.checks import checked
from pim_jax.metric import Metric, on_device
from pim_jax.metrics.entry import Entry
from pim_jax.ops.fast_cpu import convolution
from pim_jax.ops.windows import windows

_VERSION = "0.1"
PATCH = 64  # pixels; windows of this side are scored
STEP = 27  # from one window to the next, the published code's "sparse"
_LAST_WEIGHT = 1e-6  # added to the weights of windows
# Channels of the eleven convolutions. After the second, fourth, ... comes pooling; what
# the third, fifth, ... give is seen by the comparison.
CHANNELS = (64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512)
_SEEN = (3, 5, 7, 9, 11)
# Side and channels of what is seen of a window.
_SHAPES = tuple((PATCH >> (layer // 2), CHANNELS[layer - 1]) for layer in _SEEN)
_DENSE = {
    "fc1_score": (sum(side**2 * count for side, count in _SHAPES), 512),
    "fc2_score": (512, 1),
    "fc1_weight": (_SHAPES[-1][0] ** 2 * _SHAPES[-1][1], 512),
    "fc2_weight": (512, 1),
    "ref_score_subtract": (1, 1),
}
_PRECISE = jax.lax.Precision.HIGHEST


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter in the published file."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for number, outputs in enumerate(CHANNELS, 1):
        shapes[f"conv{number}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"conv{number}.bias"] = (outputs,)
        inputs = outputs
    for name, (inputs, outputs) in _DENSE.items():
        shapes[f"{name}.weight"] = (outputs, inputs)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def from_published(
    state: Mapping[str, np.ndarray], source: str = "state_dict"
) -> dict[str, Any]:
    """Parameters from the published state dict.

    Args:
      state: such as {'conv1.weight': (64, 3, 3, 3), ...}; the only weight of
        'ref_score_subtract' may be of shape (1,), as it is in the published file.
      source: where it is from, for messages.

    Raises:
      ValueError: as `io.checks.checked`.
    """
    state, vector = dict(state), "ref_score_subtract.weight"
    if vector in state and np.shape(state[vector]) == (1,):
        state[vector] = np.reshape(state[vector], (1, 1))
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in checked(state, published_shapes(), "PieAPP", source).items():
        layer, kind = key.split(".")
        if kind == "bias":
            params.setdefault(layer, {})["bias"] = array
        else:
            params.setdefault(layer, {})["kernel"] = _kernel(layer, array)
    return params


def _kernel(layer: str, array: np.ndarray) -> np.ndarray:
    """In our order: inputs before outputs, and channels last where maps were flattened."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    shapes = {"fc1_score": _SHAPES, "fc1_weight": _SHAPES[-1:]}.get(layer)
    if shapes is None:
        return np.ascontiguousarray(array.T)
    ends = np.cumsum([side**2 * count for side, count in shapes])[:-1]
    parts = [
        part.reshape(-1, count, side, side)
        .transpose(2, 3, 1, 0)
        .reshape(-1, len(array))
        for part, (side, count) in zip(np.split(array, ends, 1), shapes, strict=True)
    ]
    return np.concatenate(parts)


def _features(params: Any, x: Float[Array, "p 64 64 3"]) -> list[Array]:
    """What the comparison sees of each window, flat."""
    seen = []
    x = 255 * x
    for number in range(1, len(CHANNELS) + 1):
        layer = params[f"conv{number}"]
        x = convolution.convolve(x, layer["kernel"], "SAME", precision=_PRECISE)
        x = jax.nn.relu(x + layer["bias"][None, None, None])
        if number in _SEEN:
            seen.append(x.reshape(len(x), math.prod(x.shape[1:])))
        elif number % 2 == 0:
            x = max_pool(x, 2)
    return seen


def _dense(params: Any, name: str, x: Array) -> Array:
    product = jnp.matmul(x, params[name]["kernel"], precision=_PRECISE)
    return product + params[name]["bias"][None]


def _score(params: Any, reference: Array, image: Array) -> Float[Array, " n"]:
    n = reference.shape[0]
    both = jnp.concatenate([windows(x, PATCH, STEP) for x in (reference, image)])
    count = both.shape[1]
    seen = _features(params, both.reshape(-1, *both.shape[2:]))
    half = len(seen[0]) // 2
    differences = [x[:half] - x[half:] for x in seen]
    hidden = _dense(params, "fc1_score", jnp.concatenate(differences, axis=1))
    errors = 0.01 * _dense(params, "fc2_score", jax.nn.relu(hidden))
    errors = _dense(params, "ref_score_subtract", errors).reshape(n, count)
    hidden = _dense(params, "fc1_weight", differences[-1])
    weights = _dense(params, "fc2_weight", jax.nn.relu(hidden)) + _LAST_WEIGHT
    weights = weights.reshape(n, count)
    return jnp.sum(errors * weights, axis=1) / jnp.sum(weights, axis=1)


def metric(params: Mapping[str, Any]) -> Metric:
    """PieAPP with these weights, as from `from_published`."""
    return Metric(on_device(dict(params)), _score, "pieapp", PATCH, _VERSION)


def load_pieapp(weights: str | Path | None = None) -> Metric:
    """The metric `pieapp`.

    Args:
      weights: the published file, PieAPPv0.1.pth.

    Raises:
      FileNotFoundError: no file was given, or there is none of this name.
      ValueError: as `from_published`, or the file is damaged.
    """
    if weights is None:
        raise FileNotFoundError(
            "pieapp needs the published PieAPPv0.1.pth, which is not fetched; give its "
            "path as `weights` (https://github.com/prashnani/PerceptualImageError)"
        )
    return metric(
        from_published(torch_files.read_state_dict(Path(weights)), str(weights))
    )


ENTRIES = (
    Entry(
        "pieapp",
        load_pieapp,
        "PieAPP (Prashnani 2018) of an image, compared with a reference; piq.PieAPP",
        smallest=float("-inf"),
        minimum_size=PATCH,
        version=_VERSION,
        file="PieAPPv0.1.pth",
    ),
)
