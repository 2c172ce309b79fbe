"""`config.json` of a run: what its checkpoints were trained with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging

from pim_jax.io import files

FILE = "config.json"
# Config keys that may change between restarts without a word: they change how a run is
# carried out and reported, not what it computes.
FREE_KEYS = frozenset(
    {
        "log_every",
        "evaluate_every",
        "checkpoint_every",
        "keep_checkpoints",
        "compile",
        "devices",
        "debug_nans",
    }
)


def resolved(config: Any) -> dict[str, Any]:
    """The config as plain JSON values, references resolved."""
    return json.loads(json.dumps(config.to_dict(), default=str))


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) of what differs between two nested configs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield path, old, new


def check(workdir: Path, config: Any, follows_length: bool = True) -> None:
    """Compares the config with that of the checkpoints which are about to be continued.

    Warns, in process 0, of each key that differs and is not in FREE_KEYS.

    Args:
      workdir: folder of the run.
      config: what it is to go on with.
      follows_length: whether another `steps` is to be told, see `Task`.

    Raises:
      ValueError: a key of the block `model` differs.
    """
    path = workdir / FILE
    if not path.exists():
        return
    for key, old, new in _differences(json.loads(path.read_text()), resolved(config)):
        if key in FREE_KEYS or (key == "steps" and not follows_length):
            continue
        message = (
            f"config.{key} is {new!r}, but the checkpoints in {workdir} were trained"
            f" with {old!r}"
        )
        if key.split(".")[0] == "model":
            raise ValueError(f"{message}; use that value or another workdir")
        if key == "steps":
            message += (
                "; what follows the length of a run, such as the learning rate, goes on"
                f" as if it had been {new} from the start"
            )
        if jax.process_index() == 0:
            logging.warning("%s; going on with %r", message, new)


def write(workdir: Path, config: Any) -> None:
    """Writes the resolved config to `workdir/config.json`, whole or not at all."""
    text = json.dumps(resolved(config), indent=2) + "\n"
    files.replace_file(workdir / FILE, text.encode())
