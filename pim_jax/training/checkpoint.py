"""Checkpoints in `workdir/checkpoints`, by Orbax: atomic, pruned, readable without code.

A state is stored as nested dictionaries of NumPy arrays (Flax's state dictionary), so a
checkpoint can be read without the classes that made it, and a checkpoint of another
architecture is told apart by name and shape before anything is overwritten.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np

# Orbax is imported by the functions that need it: it takes as long to load as all of the
# rest, and whoever loads a metric or a codec that ships reads no checkpoint.
if TYPE_CHECKING:
    import orbax.checkpoint as ocp

FOLDER = "checkpoints"


def _open(folder: Path, **options: Any) -> "ocp.CheckpointManager":
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, **options
        ),
        item_handlers=ocp.StandardCheckpointHandler(),
    )


def check_keep(keep: int) -> None:
    """Raises ValueError if no checkpoint would stay."""
    if keep < 1:
        raise ValueError(f"keep_checkpoints is {keep}, expected >= 1")


@contextmanager
def manager(workdir: Path, keep: int) -> Iterator["ocp.CheckpointManager"]:
    """Opens the checkpoints of a run; with several processes all of them must.

    Saving is synchronous: the states here take less time to write than a log interval,
    and a checkpoint that `save` returned from survives anything.

    Args:
      workdir: folder of the run, on storage that all processes share.
      keep: how many of the newest checkpoints stay.

    Raises:
      ValueError: `keep` below one.
    """
    check_keep(keep)
    opened = _open(
        (workdir / FOLDER).resolve(),
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=True,  # what a killed run left half written
    )
    try:
        yield opened
    finally:
        opened.close()


def _flatten(state: Any) -> dict[str, Any]:
    """{'params/conv/kernel': leaf, ...}; empty optimizer states and None vanish."""
    nested = flax.serialization.to_state_dict(state)
    flat = flax.traverse_util.flatten_dict(nested, sep="/")
    return {name: leaf for name, leaf in flat.items() if leaf is not None}


def save(opened: "ocp.CheckpointManager", step: int, state: Any) -> None:
    """Stores a host state (NumPy leaves) as `step`; all processes call it, one writes.

    A step that is there already is left alone.
    """
    if step in opened.all_steps():
        return
    import orbax.checkpoint as ocp

    nested = flax.traverse_util.unflatten_dict(_flatten(state), sep="/")
    opened.save(step, args=ocp.args.StandardSave(nested), force=True)
    opened.wait_until_finished()


def _read(opened: "ocp.CheckpointManager", step: int) -> dict[str, Any]:
    """The nested dictionaries of a checkpoint, as NumPy arrays on any machine."""
    import orbax.checkpoint as ocp

    try:
        stored = opened.item_metadata(step).tree
        # Orbax asks for arrays to put the values in; without them it warns.
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), stored)
        return opened.restore(step, args=ocp.args.StandardRestore(target))
    except (ValueError, KeyError, OSError, AttributeError) as error:
        raise ValueError(
            f"the checkpoint of step {step} in {opened.directory} cannot be read:"
            f" {error}"
        ) from error


def _check_same_arrays(
    found: dict[str, Any], expected: dict[str, Any], where: str
) -> None:
    """Raises ValueError for the first array that is missing, misshapen or superfluous."""
    for name, leaf in expected.items():
        wanted = f"{tuple(leaf.shape)} {np.dtype(leaf.dtype)}"
        if name not in found:
            raise ValueError(
                f"{where} is of another architecture: it has no {name}, expected with"
                f" shape {wanted}; use the config it was trained with or another workdir"
            )
        stored = f"{np.shape(found[name])} {found[name].dtype}"
        if stored != wanted:
            raise ValueError(
                f"{where} is of another architecture: {name} has shape {stored},"
                f" expected {wanted}; use the config it was trained with or another"
                " workdir"
            )
    extra = next((name for name in found if name not in expected), None)
    if extra is not None:
        raise ValueError(
            f"{where} is of another architecture: it has {extra} with shape"
            f" {np.shape(found[extra])}, which this config does not; use the config it"
            " was trained with or another workdir"
        )


def restore(opened: "ocp.CheckpointManager", like: Any) -> tuple[int, Any] | None:
    """The newest checkpoint as (step, host state), or None where there is none.

    Args:
      opened: from `manager`.
      like: a state, or its shapes (`jax.eval_shape`), that gives structure and shapes.

    Raises:
      ValueError: it holds other arrays than `like`; the first of them is named.
    """
    step = opened.latest_step()
    if step is None:
        return None
    nested = _read(opened, step)
    found = {name: np.asarray(leaf) for name, leaf in _flatten(nested).items()}
    _check_same_arrays(
        found, _flatten(like), f"the checkpoint of step {step} in {opened.directory}"
    )
    # Empty nodes are not stored; the structure of `like` brings them back.
    target = flax.traverse_util.flatten_dict(
        flax.serialization.to_state_dict(like), keep_empty_nodes=True, sep="/"
    )
    full = flax.traverse_util.unflatten_dict({**target, **found}, sep="/")
    return step, flax.serialization.from_state_dict(like, full)


def read_parameters(workdir: str | Path, step: int | None = None) -> dict[str, Any]:
    """The averaged parameters of a run, as nested dictionaries of NumPy arrays.

    Args:
      workdir: folder of the run (or its `checkpoints` folder).
      step: which checkpoint; the newest if None.

    Raises:
      FileNotFoundError: no such folder, no checkpoint in it, or not of that step.
      ValueError: the checkpoint holds no averaged parameters or cannot be read.
    """
    folder = Path(workdir).resolve()
    if folder.name != FOLDER:
        folder = folder / FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}, expected one written by train.py")
    with _open(folder, create=False) as opened:
        steps = sorted(opened.all_steps())
        if not steps:
            raise FileNotFoundError(f"{folder} holds no finished checkpoint")
        chosen = steps[-1] if step is None else step
        if chosen not in steps:
            raise FileNotFoundError(
                f"{folder} holds no checkpoint of step {chosen}; it has {steps}"
            )
        nested = _read(opened, chosen)
    if "ema_params" not in nested:
        raise ValueError(
            f"the checkpoint of step {chosen} in {folder} has {sorted(nested)},"
            " expected 'ema_params' among them"
        )
    return jax.tree.map(np.asarray, nested["ema_params"])
