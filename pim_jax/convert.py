"""Published PIM checkpoints to our parameters and back.

A published model is a folder with `config.json` and a TensorFlow checkpoint with prefix
`weights`, whose variables are named by the attributes that hold them in the published
Keras code (https://github.com/google-research/perceptual-quality, `pim/`):

    frontend/cnns/0/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE
    marginal_encoder/encoders/0/base/0/bias/.ATTRIBUTES/VARIABLE_VALUE

Ours are nested dictionaries with the same order of axes; their names, joined by '/', are
`frontend/cnns_0/conv_0/kernel` and `marginal_encoder/encoders_0/base_0/bias`.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from absl import logging

from pim_jax import tensor_bundle
from pim_jax.model import ModelConfig, param_shapes

CHECKPOINT = "weights"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# What Keras stores beside the model's variables.
_BOOKKEEPING = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter\b|optimizer\b|.*\.OPTIMIZER_SLOT"
)
_FRONTENDS: dict[str | None, str] = {
    "Steerable": "steerable",
    "Laplacian": "laplacian",
    None: "none",
}
# The defaults of `perceptual_quality/pim/config.py`.
_DEFAULTS: dict[str, Any] = {
    "num_channels": 3,
    "multiscale": "Steerable",
    "nscales": 3,
    "steerable_filter_type": 1,
    "cnn": "Conv",
    "num_filters": [64, 64, 64, 3],
    "padding": "same",
    "num_distribution_encoder_layers": 2,
    "num_marginal_encoder_mixtures": 5,
    "z_dim": 10,
}
# Options of which only one value has an equivalent here; the last is older than the
# released models and belongs to the Laplacian pyramid.
_FIXED = {
    "num_channels": 3,
    "cnn": "Conv",
    "num_distribution_encoder_layers": 2,
    "use_residual": True,
}
# Of the code that cut training patches; says nothing about the networks.
_UNUSED = ("subsample_shape",)


def is_published(options: Mapping[str, Any]) -> bool:
    """Whether the contents of a config.json are those of a published model."""
    return "multiscale" in options or "num_marginal_encoder_mixtures" in options


def read_published(folder: str | Path) -> tuple[dict[str, Any], ModelConfig]:
    """Parameters and architecture of a published model.

    Variables that the architecture does not have are logged and ignored, those of the
    joint encoder may be missing (then it is left out), since only training needs it.

    Raises:
      FileNotFoundError: config.json or a file of the checkpoint is missing.
      ValueError: a file is damaged, an option is not supported, or any other variable is
        missing or has another shape than the options say; the message names it.
    """
    folder = Path(folder)
    config = model_config(read_json(folder / "config.json"), str(folder))
    arrays = tensor_bundle.read_bundle(folder / CHECKPOINT)
    keys = {published_key(name, config) for name in parameter_shapes(config)}
    extra = [key for key in arrays if key not in keys]
    for key in extra:
        if not _BOOKKEEPING.match(key):
            logging.warning("%s: variable %s is not used", folder, key)
    params = assemble(arrays, config, str(folder), lambda n: published_key(n, config))
    return params, config


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


def model_config(options: Mapping[str, Any], source: str) -> ModelConfig:
    """The architecture that a published config.json describes.

    Args:
      options: its contents; missing options have the published defaults.
      source: where they are from, for messages.

    Raises:
      ValueError: an option has a value that is not supported here.
    """
    for name in sorted(set(options) - {*_DEFAULTS, *_FIXED, *_UNUSED}):
        logging.warning("%s: option %s in config.json is not used", source, name)
    merged = {**_DEFAULTS, **options}
    for name, only in _FIXED.items():
        if merged.get(name, only) != only:
            _unsupported(source, name, merged[name], repr(only))
    multiscale = merged["multiscale"]
    if not isinstance(multiscale, str | None) or multiscale not in _FRONTENDS:
        _unsupported(source, "multiscale", multiscale, f"one of {list(_FRONTENDS)}")
    filters = merged["num_filters"]
    if not isinstance(filters, list) or not all(_is_count(n) for n in filters):
        _unsupported(source, "num_filters", filters, "a list of positive integers")
    for name in ("nscales", "num_marginal_encoder_mixtures", "z_dim"):
        if not _is_count(merged[name]):
            _unsupported(source, name, merged[name], "a positive integer")
    try:
        return ModelConfig(
            frontend=_FRONTENDS[multiscale],
            num_scales=merged["nscales"],
            steerable_order=merged["steerable_filter_type"],
            filters=tuple(filters),
            padding=str(merged["padding"]).lower(),
            z_dim=merged["z_dim"],
            mixtures=merged["num_marginal_encoder_mixtures"],
        )
    except ValueError as error:
        raise ValueError(f"{source}/config.json: {error}") from error


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unsupported(source: str, name: str, found: Any, expected: str) -> None:
    raise ValueError(
        f"{source}/config.json: {name} is {found!r}, supported is {expected}"
    )


def to_published(params: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Our parameters by their published names: {variable key: float32 array}.

    Raises:
      ValueError: the `paper` variant, which the published code cannot express, or
        parameters of another architecture.
    """
    published_config(config)
    nested = assemble(flatten(params), config, "params")
    return {published_key(k, config): v for k, v in flatten(nested).items()}


def published_config(config: ModelConfig) -> dict[str, Any]:
    """The published config.json of an architecture; ValueError where there is none."""
    if config.variant != "published":
        raise ValueError(
            "only the variant 'published' has a published layout, found "
            f"{config.variant!r}"
        )
    multiscale = {ours: theirs for theirs, ours in _FRONTENDS.items()}[config.frontend]
    options = {
        **_DEFAULTS,
        "multiscale": multiscale,
        "nscales": config.num_scales,
        "steerable_filter_type": config.steerable_order,
        "num_filters": list(config.filters),
        "padding": config.padding,
        "num_marginal_encoder_mixtures": config.components,
        "z_dim": config.z_dim,
    }
    return {**options, "use_residual": True} if multiscale == "Laplacian" else options


def published_key(name: str, config: ModelConfig) -> str:
    """The published variable key of one of our parameters."""
    key = re.sub(r"/conv_(\d+)/", r"/layer_with_weights-\1/", name)
    key = re.sub(r"_(\d+)(?=/)", r"/\1", key)
    if config.frontend == "none":
        # A frontend with one scale holds its network directly, not in a list.
        key = key.replace("frontend/cnns/0/", "frontend/cnn/")
    return key + _SUFFIX


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
