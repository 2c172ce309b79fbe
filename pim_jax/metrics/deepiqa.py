"""DeepIQA, also WaDIQaM-FR: a network that scores windows and says how much each counts.

Bosse, Maniry, Mueller, Wiegand & Samek 2018, https://arxiv.org/abs/1612.01697. Equal to
`pyiqa`'s module within 1e-5 on the same weights, with the order of features, windows and
offset of https://github.com/dmaniry/deepIQA. It reads the models there (HDF5 of Chainer,
for which h5py has to be installed) or the same arrays as .npz; none is fetched:

    metric = pim_jax.load("deepiqa", weights="fr_tid_weighted.model")

It is no distance: the first image is the reference, and the score is on the scale that the
model was trained for, where smaller may be worse.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pim_jax.features.backbones import max_pool
from pim_jax.io import npz
from pim_jax.io.checks import checked
from pim_jax.metric import Metric, on_device
from pim_jax.metrics.about import ABOUT
from pim_jax.ops.fast_cpu import convolution
from pim_jax.ops.windows import windows

PATCH = 32  # pixels; windows of this side, side by side
# Channels of the ten convolutions; after every second comes pooling.
CHANNELS = (32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
_LAST_WEIGHT = 1e-6  # added to the weights of windows
_PRECISE = jax.lax.Precision.HIGHEST


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter in a published file."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for number, outputs in enumerate(CHANNELS, 1):
        shapes[f"conv{number}/W"] = (outputs, inputs, 3, 3)
        shapes[f"conv{number}/b"] = (outputs,)
        inputs = outputs
    for end in ("", "_a"):  # of the score, and of how much a window counts
        for layer, shape in (("fc1", (512, 3 * inputs)), ("fc2", (1, 512))):
            shapes[f"{layer}{end}/W"] = shape
            shapes[f"{layer}{end}/b"] = shape[:1]
    return shapes


def from_published(
    state: Mapping[str, np.ndarray], source: str = "the model"
) -> dict[str, Any]:
    """Parameters from the arrays of a published model, of its weighted variant.

    Args:
      state: such as {'conv1/W': (32, 3, 3, 3), ...}.
      source: where it is from, for messages.

    Raises:
      ValueError: as `io.checks.checked`.
    """
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in checked(state, published_shapes(), "DeepIQA", source).items():
        layer, kind = key.split("/")
        # Inputs before outputs; convolutions have height and width first.
        order = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
        ours = array if kind == "b" else np.ascontiguousarray(array.transpose(order))
        params.setdefault(layer, {})["bias" if kind == "b" else "kernel"] = ours
    return params


def _features(params: Any, x: Float[Array, "p 32 32 3"]) -> Float[Array, "p 512"]:
    x = 255 * x
    for number in range(1, len(CHANNELS) + 1):
        layer = params[f"conv{number}"]
        x = convolution.convolve(x, layer["kernel"], "SAME", precision=_PRECISE)
        x = jax.nn.relu(x + layer["bias"][None, None, None])
        if number % 2 == 0:
            x = max_pool(x, 2)
    return x.reshape(len(x), CHANNELS[-1])


def _two_layers(params: Any, end: str, x: Float[Array, "p f"]) -> Float[Array, "p 1"]:
    def dense(name: str, x: Array) -> Array:
        layer = params[name + end]
        product = jnp.matmul(x, layer["kernel"], precision=_PRECISE)
        return product + layer["bias"][None]

    return dense("fc2", jax.nn.relu(dense("fc1", x)))


def _score(params: Any, reference: Array, image: Array) -> Float[Array, " n"]:
    n = reference.shape[0]
    both = jnp.concatenate([windows(x, PATCH, PATCH) for x in (image, reference)])
    count = both.shape[1]
    features = _features(params, both.reshape(-1, *both.shape[2:]))
    ours, theirs = jnp.split(features, 2)
    joined = jnp.concatenate([ours - theirs, ours, theirs], axis=1)
    scores = _two_layers(params, "", joined).reshape(n, count)
    weights = jax.nn.relu(_two_layers(params, "_a", joined)).reshape(n, count)
    weights = weights + _LAST_WEIGHT
    return jnp.sum(scores * weights, axis=1) / jnp.sum(weights, axis=1)


def metric(params: Mapping[str, Any]) -> Metric:
    """DeepIQA with these weights, as from `from_published`."""
    about = ABOUT["deepiqa"]
    return Metric(
        on_device(dict(params)), _score, "deepiqa", about.minimum_size, about.version
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if zipfile.is_zipfile(path):
        return npz.read(path)
    import h5py  # Only here: nothing else needs it.

    try:
        with h5py.File(path) as file:
            found: dict[str, np.ndarray] = {}

            def keep(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    found[name] = np.asarray(item)

            file.visititems(keep)
            return found
    except OSError as error:
        raise ValueError(f"{path} is neither .npz nor HDF5: {error}") from error


def load_deepiqa(weights: str | Path | None = None) -> Metric:
    """The metric `deepiqa`.

    Args:
      weights: a published model of the full-reference, weighted kind.

    Raises:
      FileNotFoundError: no file was given, or there is none of this name.
      ImportError: it is HDF5, and h5py is not installed.
      ValueError: as `from_published`, or the file is damaged.
    """
    if weights is None:
        raise FileNotFoundError(
            f"deepiqa needs a model of its authors, {ABOUT['deepiqa'].file}, which is not "
            "fetched; give its path as `weights` (https://github.com/dmaniry/deepIQA)"
        )
    return metric(from_published(_read(Path(weights)), str(weights)))
