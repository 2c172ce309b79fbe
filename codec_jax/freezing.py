"""From trained parameters to a codec that writes files, and back to parameters."""

import json
from pathlib import Path
from typing import Any

from codec_jax import storage
from codec_jax.loading import PACKAGED, load
from codec_jax.models import architectures
from codec_jax.models.architectures import Architecture
from codec_jax.trained import TrainedCodec
from pim_jax.training import checkpoint, run_config


def freeze(params: Any, config: Architecture, name: str) -> TrainedCodec:
    """Trained parameters with the integers that go with them: once, after training.

    Weights are rounded to what a file holds; integers are made from the rounded ones.

    Args:
      params: of `architectures.networks(config)`.
      config: their architecture.
      name: 1 to 32 characters of a-z, 0-9, '.' and '-', which every file carries.

    Raises:
      ValueError: another name, or weights that are not finite, or do not fit 16 bits or
        the integers.
    """
    rounded = storage.rounded(params, config.storage)
    latent_codec = architectures.networks(config).latent_codec
    rest, integers = latent_codec.freeze(rounded)
    return TrainedCodec(name, config, rest, *integers)


def thaw(codec: TrainedCodec) -> dict[str, Any]:
    """Parameters of `codec.networks` that `freeze` makes a codec of.

    They are what training goes on from. Frozen as they are, they give the same files,
    unless a shift of the integers lies at its limit, where the last bit may change.
    """
    return dict(codec.thawed)


def freeze_run(folder: str | Path, name: str) -> tuple[TrainedCodec, dict[str, Any]]:
    """The averaged weights of the newest checkpoint of a run, and its record.

    Raises: FileNotFoundError or ValueError if the folder is not one of a codec's run.
    """
    params, config = _of_run(Path(folder))
    codec = freeze(params, architectures.from_dict(config["model"]), name)
    return codec, {"config": config}


def to_train_further(source: str) -> tuple[dict[str, Any], Architecture]:
    """Parameters to go on from, and their architecture.

    Args:
      source: as for `loading.load`; of a run's folder the averaged weights of its newest
        checkpoint.

    Raises: as `loading.load` and `freeze_run`.
    """
    path = Path(source).expanduser()
    if source not in PACKAGED and path.is_dir():
        params, config = _of_run(path)
        return params, architectures.from_dict(config["model"])
    codec = load(source if source in PACKAGED else path)
    return thaw(codec), codec.config


def _of_run(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The averaged parameters of a run's newest checkpoint, and its configuration."""
    path = folder / run_config.FILE
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}; expected the folder of a run")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict) or "task" not in config:
        raise ValueError(f"{path} is no configuration of a run")
    if config["task"] != "codec":
        raise ValueError(f"{folder} is a run of {config.get('task')!r}, not of a codec")
    return checkpoint.read_parameters(folder), config
