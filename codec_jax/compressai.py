"""Checkpoints of CompressAI to our parameters.

CompressAI (https://github.com/InterDigitalInc/CompressAI) stores a PyTorch `state_dict`:

    g_a.0.weight  g_a.1.beta  entropy_bottleneck.quantiles  gaussian_conditional._offset

Axes are in another order there, kernels of transposed convolutions are mirrored, and
hyper latents are rounded around a median: it becomes `CodecConfig.offsets`. Likelihoods
are not bounded from below here, there by 1e-9, so bits of outliers may differ.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np

from codec_jax.coding.tables import LARGEST_PRECISION, Tables
from codec_jax.entropy import factorized, gaussian_conditional
from codec_jax.models import architectures
from codec_jax.models.codec import parameter_shapes
from codec_jax.models.config import CodecConfig
from pim_jax.io import npz, torch_files

# Where training scripts put the weights, beside the optimiser's state.
_WRAPPERS = ("state_dict", "network", "model_state_dict")
_PRIOR, _NORMAL = "entropy_bottleneck", "gaussian_conditional"
_FILTERS = (3, 3, 3, 3)
_PEDESTAL = 2.0**-36
# Numbers that CompressAI stores with the weights; others would need another model.
_CONSTANTS = {
    r"g_[as]\.[135]\.(beta|gamma)_reparam\.pedestal": _PEDESTAL,
    r"g_[as]\.[135]\.beta_reparam\.lower_bound\.bound": np.sqrt(1e-6 + _PEDESTAL),
    r"g_[as]\.[135]\.gamma_reparam\.lower_bound\.bound": 2.0**-18,
    rf"({_PRIOR}|{_NORMAL})\.likelihood_lower_bound\.bound": 1e-9,
    rf"{_NORMAL}\.(scale_bound|lower_bound_scale\.bound)": gaussian_conditional.SMALLEST,
    rf"{_NORMAL}\.scale_table": gaussian_conditional.SCALES,
}
_TABLES = ("_quantized_cdf", "_offset", "_cdf_length")
# `target` holds where the quantiles were to be found; they have been.
_UNUSED = rf"{_PRIOR}\.target"


class Converted(NamedTuple):
    """A codec of CompressAI as one of ours.

    Attributes:
      name: of the architecture, as in CompressAI and in `models.config.MODELS`.
      config: the architecture.
      params: of `architectures.networks(config)`, nested dictionaries of float32 arrays.
      prior_tables: of the factorized prior, a row for each channel.
      scale_tables: of the normal distributions, a row for each of
        `gaussian_conditional.SCALES`; None where there are none.
    """

    name: str
    config: CodecConfig
    params: dict[str, Any]
    prior_tables: Tables
    scale_tables: Tables | None


class _Layout(NamedTuple):
    """How an array lies in the file: its shape there from ours, and ours from the file."""

    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    convert: Callable[[np.ndarray], np.ndarray]


_SAME = _Layout(lambda s: s, lambda a: a)
_CONV = _Layout(lambda s: (s[3], s[2], s[0], s[1]), lambda a: a.transpose(2, 3, 1, 0))
_UP = _Layout(
    lambda s: (s[2], s[3], s[0], s[1]),
    lambda a: a[:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
)
_MATRIX = _Layout(lambda s: s[::-1], lambda a: a.T)
_COLUMN = _Layout(lambda s: (*s, 1), lambda a: a[..., 0])


def read_compressai(path: str | Path, lmbda: float = 0.0130) -> Converted:
    """A codec from a file that CompressAI wrote, or from its arrays in an .npz.

    Args:
      path: .npz, or what `torch.save` writes (.pth, .pth.tar), read without PyTorch.
      lmbda: the Lagrangian weight it was trained for, which the file does not say; used
        only where training goes on.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, one that holds more than plain data, or as
        `from_compressai`.
    """
    path = Path(path)
    read = npz.read if path.suffix == ".npz" else torch_files.read
    stored = read(path)
    return from_compressai(stored, str(path), lmbda)


def from_compressai(
    stored: Mapping[str, Any], source: str = "state_dict", lmbda: float = 0.0130
) -> Converted:
    """A codec from a state dict of bmshj2018-factorized, -hyperprior or mbt2018-mean.

    Tables are those of the file. Where its codec was never updated and has none, they are
    made as for our own codecs, from the distributions and not from the quantiles, which
    lag behind them in training.

    Args:
      stored: name -> array or tensor, or a checkpoint that holds this as 'state_dict',
        'network' or 'model_state_dict'. Names of older versions and of DataParallel are
        understood.
      source: where it is from, for messages.
      lmbda: see `read_compressai`.

    Raises:
      ValueError: a parameter is missing, unknown, has another shape or is not finite, or
        a constant has another value than ours; the message names it.
    """
    arrays = _arrays(stored, source)
    name, config = _architecture(arrays, source, lmbda)
    entries = _entries(config)
    _check_names(arrays, {key for key, _ in entries.values()}, config, source)
    flat = {
        ours: layout.convert(
            _checked(arrays[key], layout.shape(shape), f"{source}: {key}")
        )
        for (ours, shape), (key, layout) in zip(
            _shapes(config).items(), entries.values(), strict=True
        )
    }
    params = flax.traverse_util.unflatten_dict(_centred(flat, config), sep="/")
    return Converted(name, config, params, *_tables(arrays, params, config, source))


def _arrays(stored: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    """Arrays by today's names."""
    for wrapper in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping):
        raise ValueError(
            f"{source}: expected names and arrays, found {type(stored).__name__}"
        )
    found = {}
    for name, value in stored.items():
        try:
            found[_todays_name(str(name))] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{source}: {name} is no array: {error}") from error
    return found


def _todays_name(name: str) -> str:
    """A name as the newest CompressAI writes it."""
    name = name.removeprefix("module.")
    old = re.fullmatch(rf"{_PRIOR}\._?(matri|bias|factor)[a-z]*\.?(\d)", name)
    if not old:
        return name
    plural = {"matri": "matrices", "bias": "biases", "factor": "factors"}[old[1]]
    return f"{_PRIOR}.{plural}.{old[2]}"


def _architecture(
    arrays: Mapping[str, np.ndarray], source: str, lmbda: float
) -> tuple[str, CodecConfig]:
    """The codec that has these arrays, by the shapes of its first and last layers."""
    filters = _leading(arrays, "g_a.0.weight", source)
    latents = _leading(arrays, "g_a.6.weight", source)
    fixed: dict[str, Any] = {
        "filters": filters,
        "latents": latents,
        "normalization": "original",
        "hyper": "scale",
        "factorized_filters": _FILTERS,
        "centre": 0.0,
        "offsets": True,
        "lambdas": (lmbda,),
    }
    if not any(name.startswith(("h_a.", "h_s.")) for name in arrays):
        return "bmshj2018-factorized", CodecConfig(prior="factorized", **fixed)
    outputs = _leading(arrays, "h_s.4.weight", source)
    if outputs == latents:
        return "bmshj2018-hyperprior", CodecConfig(prior="scale", **fixed)
    if outputs == 2 * latents:
        return "mbt2018-mean", CodecConfig(
            prior="mean_scale", hyper_activation="leaky_relu", **fixed
        )
    raise ValueError(
        f"{source}: h_s.4.weight has {outputs} outputs, expected {latents} (scales) or "
        f"{2 * latents} (scales and means) for {latents} latents"
    )


def _leading(arrays: Mapping[str, np.ndarray], name: str, source: str) -> int:
    if name not in arrays:
        raise ValueError(
            f"{source}: {name} is missing; expected a state dict of CompressAI's "
            "bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean, found "
            f"{sorted(arrays)[:5]} ..."
        )
    if arrays[name].ndim != 4 or not arrays[name].size:
        raise ValueError(
            f"{source}: {name} has shape {arrays[name].shape}, expected 4-D"
        )
    return len(arrays[name])


def _shapes(config: CodecConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape of each of our parameters by its flat name."""
    shapes = dict(parameter_shapes(architectures.networks(config)))
    shapes["offset"] = (*shapes["offset"], 1, 3)  # of the quantiles it is taken from
    return shapes


def _entries(config: CodecConfig) -> dict[str, tuple[str, _Layout]]:
    """The name in the file and the layout of each of our parameters."""
    return {name: _entry(name) for name in _shapes(config)}


def _entry(name: str) -> tuple[str, _Layout]:
    if name == "offset":
        return f"{_PRIOR}.quantiles", _SAME
    module, *rest = name.split("/")
    if module == "prior":
        kind, number = rest[0].split("_")
        plural = {"matrix": "matrices", "bias": "biases", "factor": "factors"}[kind]
        return f"{_PRIOR}.{plural}.{number}", _SAME if kind == "matrix" else _COLUMN
    layer, parameter = rest
    kind, number = layer.split("_")
    theirs = {
        "analysis_transform": "g_a",
        "synthesis_transform": "g_s",
        "hyper_analysis_transform": "h_a",
        "hyper_synthesis_transform": "h_s",
    }[module]
    # Convolutions and what follows them are numbered alternately.
    place = 2 * int(number) + (0 if kind == "conv" else 1)
    up = theirs == "g_s" or (theirs == "h_s" and place < 4)
    layout = {"kernel": _UP if up else _CONV, "gamma": _MATRIX}.get(parameter, _SAME)
    return (
        f"{theirs}.{place}.{'weight' if parameter == 'kernel' else parameter}",
        layout,
    )


def _check_names(
    arrays: Mapping[str, np.ndarray],
    parameters: set[str],
    config: CodecConfig,
    source: str,
) -> None:
    """That there are all parameters, and nothing that is not known."""
    missing = sorted(parameters - set(arrays))
    if missing:
        raise ValueError(f"{source}: missing {missing} for {config}")
    parts = [_PRIOR] if config.prior == "factorized" else [_PRIOR, _NORMAL]
    known = parameters | {f"{part}.{name}" for part in parts for name in _TABLES}
    for name in sorted(set(arrays) - known):
        if re.fullmatch(_UNUSED, name):
            continue
        values = [v for k, v in _CONSTANTS.items() if re.fullmatch(k, name)]
        if not values or (name.startswith(_NORMAL) and _NORMAL not in parts):
            raise ValueError(f"{source}: {name} is unknown in {config}")
        # A table of scales is empty until the codec is updated.
        found = arrays[name].ravel()
        if found.size and not _equals(found, np.ravel(values[0])):
            raise ValueError(f"{source}: {name} is {found}, expected {values[0]}")


def _equals(found: np.ndarray, expected: np.ndarray) -> bool:
    return len(found) == len(expected) and np.allclose(found, expected, 1e-5, 0)


def _checked(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{what} has type {array.dtype}, expected floating point")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} has NaN or infinite values, expected finite ones")
    return array


def _centred(flat: dict[str, np.ndarray], config: CodecConfig) -> dict[str, np.ndarray]:
    """The same codec with latents of the prior that are rounded around zero.

    The median is taken off them by the last bias before, and added by the first bias of
    the prior and by `offset` where they are read.
    """
    flat = dict(flat)
    median = flat["offset"][:, 0, 1]
    last = (
        "analysis_transform/conv_3/bias"
        if config.prior == "factorized"
        else "hyper_analysis_transform/conv_2/bias"
    )
    slope = np.logaddexp(0, flat["prior/matrix_0"][..., 0].astype(np.float64))
    flat[last] = flat[last] - median
    moved = flat["prior/bias_0"] + slope * median[:, None]
    flat["prior/bias_0"] = moved.astype(np.float32)
    flat["offset"] = median
    return flat


def _tables(
    arrays: Mapping[str, np.ndarray],
    params: Mapping[str, Any],
    config: CodecConfig,
    source: str,
) -> tuple[Tables, Tables | None]:
    """Of the prior and of the scales: those stored, or made now."""
    channels = len(params["offset"])
    prior = _stored_tables(arrays, _PRIOR, channels, source)
    if prior is None:
        model = factorized.Factorized(channels, config.factorized_filters)
        prior = factorized.make_tables(params["prior"], model)
    if config.prior == "factorized":
        return prior, None
    normal = _stored_tables(arrays, _NORMAL, gaussian_conditional.COUNT, source)
    return prior, normal or gaussian_conditional.make_tables()


def _stored_tables(
    arrays: Mapping[str, np.ndarray], part: str, rows: int, source: str
) -> Tables | None:
    """The integers of a codec that was updated, else None."""
    names = [f"{part}.{name}" for name in _TABLES]
    found = [arrays[name] for name in names if name in arrays and arrays[name].size]
    if not found:
        return None
    if len(found) < len(names):
        raise ValueError(f"{source}: expected all of {names} or none of them")
    cdf, offset, length = found
    if cdf.ndim != 2 or length.shape != (rows,) or len(cdf) != rows:
        raise ValueError(
            f"{source}: {names[0]} has shape {cdf.shape} and {names[2]} {length.shape}, "
            f"expected {rows} rows in both"
        )
    # Rows are filled up with zeros there, with the largest count here.
    beyond = np.arange(cdf.shape[1]) >= length[:, None]
    try:
        return Tables(
            precision=np.full(rows, LARGEST_PRECISION),
            escape=np.full(rows, True),
            offset=offset,
            cdf=np.where(beyond, 1 << LARGEST_PRECISION, cdf),
        )
    except ValueError as error:
        raise ValueError(f"{source}: {part}: {error}") from error
