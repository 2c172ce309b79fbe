"""Weights of PIM in folders: reading any kind, writing our own.

A folder is one of three kinds, told apart by its config.json:

- written by `train.py`: the resolved configuration and `checkpoints/`;
- written by `pim-jax convert`: {"format": "pim_jax", "model": ...} and `weights.npz`;
- a published model: the published options and a TensorFlow checkpoint `weights`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pim_jax.io import files, npz
from pim_jax.pim import parameters, published
from pim_jax.pim.model import ModelConfig
from pim_jax.training import checkpoint

FORMAT = "pim_jax"
ARRAYS = "weights.npz"


def read(
    folder: str | Path, step: int | None = None
) -> tuple[dict[str, Any], ModelConfig]:
    """Parameters and architecture in a folder of any of the three kinds.

    The parameters include the joint encoder where the folder has it.

    Args:
      folder: of one of the three kinds.
      step: of a run, which checkpoint; the newest if None.

    Raises:
      FileNotFoundError: files are missing, or the run has no checkpoint of that step.
      ValueError: the weights do not fit the architecture in config.json (the message
        names the parameter and both shapes), or a file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{folder} {problem}; expected one with config.json")
    options = parameters.read_json(folder / "config.json")
    is_run = "model" in options and "format" not in options
    if step is not None and not is_run:
        raise ValueError(f"{folder} is no run of train.py, so it has no step {step}")
    if "format" in options:
        return _read_converted(folder, options)
    if is_run:
        config = _architecture(options["model"], folder)
        nested = checkpoint.read_parameters(folder, step)
        return _strict(parameters.flatten(nested), config, folder), config
    if published.is_published(options):
        return published.read_published(folder)
    raise ValueError(
        f"{folder}/config.json has {sorted(options)}; expected 'model' (a training run), "
        "'format' (written by pim-jax convert) or 'multiscale' (a published model)"
    )


def initial_seed(folder: str | Path) -> int:
    """The seed that training started from; 0 where a folder does not say."""
    return int(parameters.read_json(Path(folder) / "config.json").get("seed", 0))


def write(
    folder: str | Path,
    params: Mapping[str, Any],
    config: ModelConfig,
    half: bool = False,
    seed: int = 0,
) -> None:
    """Writes config.json and weights.npz, all or nothing.

    Args:
      folder: must not exist, or be empty.
      params: nested parameters, with or without the joint encoder.
      config: their architecture.
      half: stores 16-bit floats, 11 bits of precision, half the size.
      seed: that training started from.

    Raises:
      ValueError: the folder has files, or the parameters do not fit.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists; expected a new or an empty folder")
    flat = parameters.flatten(_strict(parameters.flatten(params), config, "params"))
    if half:
        flat = {name: array.astype(np.float16) for name, array in flat.items()}
    options = {"format": FORMAT, "seed": seed, "model": dataclasses.asdict(config)}
    with files.whole_folder(folder) as fresh:
        np.savez_compressed(fresh / ARRAYS, **flat)
        (fresh / "config.json").write_text(json.dumps(options, indent=2) + "\n")


def _read_converted(
    folder: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Any], ModelConfig]:
    if options["format"] != FORMAT:
        raise ValueError(
            f"{folder}/config.json has format {options['format']!r}, expected {FORMAT!r}"
        )
    config = _architecture(options.get("model"), folder)
    return _strict(npz.read(folder / ARRAYS), config, folder), config


def _architecture(options: Any, folder: Path) -> ModelConfig:
    if not isinstance(options, dict):
        raise ValueError(
            f"{folder}/config.json: 'model' is {options!r}, expected an object with the "
            "options of the architecture"
        )
    try:
        return ModelConfig.from_dict(options)
    except ValueError as error:
        raise ValueError(f"{folder}/config.json: {error}") from error


def _strict(
    flat: Mapping[str, Any], config: ModelConfig, source: str | Path
) -> dict[str, Any]:
    """Checked parameters; in our own files anything superfluous is an error too."""
    params = parameters.assemble(flat, config, str(source))
    expected = parameters.parameter_shapes(config)
    for name, array in flat.items():
        if name not in expected:
            raise ValueError(
                f"{source}: {name} with shape {np.shape(array)} is not a parameter of "
                f"{config}"
            )
    return params
