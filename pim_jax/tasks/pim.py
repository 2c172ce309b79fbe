"""PIM as a task for the loop: model, objective, data and evaluation meet here."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, PRNGKeyArray

from pim_jax.data import frame_pairs, frame_runs
from pim_jax.evaluation import behaviour, held_out, scores
from pim_jax.pim import checkpoints, packaged, pictures
from pim_jax.pim.distance import pim_metric
from pim_jax.pim.initialization import begin_from, init_params
from pim_jax.pim.model import (
    ModelConfig,
    Pim,
    param_shapes,
    position_weights,
    positions,
)
from pim_jax.pim.objective import REDUCTIONS, ixyz
from pim_jax.training import devices, optimizer
from pim_jax.training.task import (
    Batches,
    Task,
    TrainState,
    gradient_update,
    initial_state,
)


def make(config: ml_collections.ConfigDict) -> Task:
    """Training of PIM on pairs of video frames.

    Args:
      config: as in `configs/pim.py`.
    Raises: ValueError for options that do not fit, FileNotFoundError for missing data or
      weights to start from.
    """
    model = _checked_model(config)
    axis_name = devices.axis_name(config.compile)
    adam = optimizer.make(config.optimizer, config.steps)
    loss = make_loss(model, config.objective, axis_name)
    first_params = _first_params(config.start_from, model)
    augmentation = _augmentation(config.data)
    prepared = _prepared(config.data)
    x, y = frame_pairs.validation_pairs(
        frame_runs.open_runs(prepared, "validation"),
        config.data.validation_pairs,
        crop=config.data.validation_crop or config.data.crop,
    )

    def held_out(state: TrainState) -> Mapping[str, float]:
        return validation_scores(state.ema_params, model, x, y)

    return Task(
        init=lambda key: initial_state(first_params(key), adam),
        update=gradient_update(loss, adam, config.ema_decay, axis_name),
        batches=_batches(config.data, prepared, augmentation, config.seed),
        evaluations={"validation": held_out},
        pictures={
            "frame_pairs": lambda state: pictures.frame_pairs(x[:8], y[:8]),
            "activations": lambda state: pictures.activations(
                state.ema_params, model, x[:4]
            ),
        },
        follows_length=config.optimizer.schedule != "constant",
    )


def _checked_model(config: ml_collections.ConfigDict) -> ModelConfig:
    """The architecture; ValueError for options that do not fit.

    Before frames are prepared, which may take hours.
    """
    model = ModelConfig.from_dict(config.model)
    if config.data.crop < model.minimum_size:
        raise ValueError(
            f"data.crop is {config.data.crop}, but this pyramid needs at least "
            f"{model.minimum_size} pixels"
        )
    devices.check_batch_size(config.data.batch_size, config.devices)
    if config.data.validation_pairs < 1:
        raise ValueError(
            f"data.validation_pairs is {config.data.validation_pairs}, expected >= 1"
        )
    return model


def _augmentation(data: ml_collections.ConfigDict) -> frame_pairs.Augmentation:
    return frame_pairs.Augmentation(
        flip=data.flip,
        scale=tuple(data.scale),
        jitter_px=data.jitter_px,
        brightness=data.brightness,
    )


def _batches(
    data: ml_collections.ConfigDict,
    prepared: Path,
    augmentation: frame_pairs.Augmentation,
    seed: int,
) -> Batches:
    """Minibatches of pairs of frames from the training part of prepared frames."""

    def batches(
        process_index: int, process_count: int, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        return frame_pairs.batches(
            frame_runs.open_runs(prepared, "train", cache_gb=data.cache_gb),
            crop=data.crop,
            batch_size=data.batch_size,
            seed=seed,
            process_index=process_index,
            process_count=process_count,
            start_step=start_step,
            augmentation=augmentation,
        )

    return batches


def _first_params(
    source: str, model: ModelConfig
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """From a key to the weights that training starts from; see `config.start_from`."""
    if not source:
        return lambda key: init_params(model, key)
    folder = packaged.folder_of(source) if source in packaged.SHIPPED else source
    trained, _ = checkpoints.read(folder)
    # Complaints come now, and not from within the first compilation.
    jax.eval_shape(
        lambda fresh: begin_from(fresh, trained, source), param_shapes(model)
    )
    return lambda key: begin_from(
        init_params(model, key), jax.tree.map(jnp.asarray, trained), source
    )


def make_loss(
    model: ModelConfig, objective: ml_collections.ConfigDict, axis_name: str | None
) -> Any:
    """The loss of `gradient_update`: minus the mean of IXYZ over the minibatch.

    Args:
      model: the architecture.
      objective: `reduction` and `temperature`, see `objective.ixyz`.
      axis_name: the pmap axis, or None under jit.

    Raises: ValueError for an unknown reduction, or a temperature that is not positive.
    """
    if objective.reduction not in REDUCTIONS:
        raise ValueError(
            f"objective.reduction is {objective.reduction!r}, expected one of"
            f" {[*REDUCTIONS]}"
        )
    if not objective.temperature > 0:
        raise ValueError(
            f"objective.temperature is {objective.temperature}, expected > 0"
        )

    def loss(
        params: Any, batch: Mapping[str, Array], key: PRNGKeyArray, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        x, y = (batch[k].astype(jnp.float32) / 255 for k in ("x", "y"))
        outputs: Any = Pim(model).apply({"params": params}, x, y)
        marginal_x, marginal_y, joint_loc = outputs
        flat_loc = positions(joint_loc)
        terms = ixyz(
            flat_loc,
            positions(marginal_x),
            positions(marginal_y),
            noise_of_rows(key, flat_loc.shape, axis_name),
            position_weights([loc[0, ..., 0].size for loc in joint_loc]),
            reduction=objective.reduction,
            temperature=objective.temperature,
            axis_name=axis_name,
        )
        means = {name: jnp.mean(value) for name, value in terms._asdict().items()}
        return -means["bound"], means

    return loss


def noise_of_rows(
    key: PRNGKeyArray, shape: tuple[int, ...], axis_name: str | None
) -> Array:
    """Standard normal noise; the first axis of `shape` is the minibatch.

    A row's noise depends on the key and on the row's number in the global minibatch, so
    that one device and many draw the same.
    """
    keys = devices.keys_of_rows(key, shape[0], axis_name)
    return jax.vmap(lambda k: jax.random.normal(k, shape[1:], jnp.float32))(keys)


def validation_scores(
    params: Any, model: ModelConfig, x: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """Held-out IXYZ in nats, by reduction, and the share of next frames found, in [0, 1].

    Args:
      params: weights with the joint encoder.
      model: their architecture.
      x, y: pairs of frames, uint8 (n, h, w, 3); each x searches its y among all.
    """
    # Ten thousand comparisons, which need not be precise.
    metric = pim_metric(params, model, "validation").with_points(256)
    table = behaviour.retrieval_table(metric, x, y, queries=len(x))
    found = scores.retrieval_credits(table, np.arange(len(x)))
    bounds = held_out.held_out_ixyz(params, model, x, y)
    return {
        **{f"ixyz_{name}": float(np.mean(values)) for name, values in bounds.items()},
        "retrieval": float(np.mean(found)),
    }


def _prepared(data: ml_collections.ConfigDict) -> Path:
    """The folder of the prepared frames; process 0 makes it where there is none."""
    if data.frames_dir:
        return Path(data.frames_dir)
    # Only here: a machine that trains from prepared frames needs neither PyAV nor tfds.
    from pim_jax.data import video

    prepared = video.prepare_from(data) if jax.process_index() == 0 else None
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("frames prepared")
    return prepared or video.prepare_from(data)
