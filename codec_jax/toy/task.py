"""Training of a toy coder as a task for the loop: source, coder and loss meet here."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from codec_jax.toy import pictures
from codec_jax.toy.coder import Coder
from codec_jax.toy.sources import SOURCES, Source
from codec_jax.toy.transform_coding import transform_coder
from codec_jax.toy.vector_quantization import ecvq
from pim_jax.training import optimizer
from pim_jax.training.task import (
    Batch,
    Scalars,
    Task,
    TrainState,
    Update,
    gradient_update,
    initial_state,
)

CODERS = ("ltc", "ntc", "ecvq")
# Vectors that are coded at a time, and numbers in them, at most.
_VECTORS, _NUMBERS = 65_536, 2**22


class Score(NamedTuple):
    """Means over many vectors.

    Attributes:
      rate: bits for a vector.
      distortion: squared error, its sum or mean over the dimensions.
      lagrangian: rate + lmbda * distortion.
    """

    rate: float
    distortion: float
    lagrangian: float


def source_of(config: ml_collections.ConfigDict) -> Source:
    """The source that `config.source` names; ValueError for an unknown one."""
    if config.source not in SOURCES:
        raise ValueError(
            f"config.source is {config.source!r}, expected one of {[*SOURCES]}"
        )
    return SOURCES[config.source]


def price(config: ml_collections.ConfigDict) -> float:
    """The price of an error: lambda for the sum over the dimensions.

    Raises: ValueError for a distortion that is neither 'sum' nor 'mean'.
    """
    if config.distortion not in ("sum", "mean"):
        raise ValueError(
            f"config.distortion is {config.distortion!r}, expected 'sum' or 'mean'"
        )
    mean = config.distortion == "mean"
    return config.lmbda / (source_of(config).dimensions if mean else 1)


def coder_of(config: ml_collections.ConfigDict) -> Coder:
    """The coder that `config.model` describes; ValueError for an unknown kind."""
    source, model = source_of(config), config.model
    if model.coder not in CODERS:
        raise ValueError(
            f"config.model.coder is {model.coder!r}, expected one of {CODERS}"
        )
    if model.coder == "ecvq":
        return ecvq(source, model.codewords, price(config))
    widths = tuple(model.widths) if model.coder == "ntc" else ()
    return transform_coder(source.dimensions, model.latents, widths, model.alpha)


def make(config: ml_collections.ConfigDict) -> Task:
    """Training of a coder on fresh samples of a source.

    Samples are drawn on the device, and a step of the loop is many steps of the
    optimizer: one takes a millisecond. Several devices all do the same.

    Args:
      config: as in `configs/toy.py`.
    Raises: ValueError for options that do not fit.
    """
    if config.updates_per_step < 1:
        raise ValueError(
            f"updates_per_step is {config.updates_per_step}, expected >= 1"
        )
    source, coder, lmbda = source_of(config), coder_of(config), price(config)
    total = config.steps * config.updates_per_step
    adam = optimizer.make(config.optimizer, total)

    def loss(
        params: Any, batch: Batch, key: PRNGKeyArray, step: Array
    ) -> tuple[Array, Scalars]:
        del batch
        sample_key, coder_key = jax.random.split(key)
        x = source.sample(sample_key, config.batch_size)
        cost = coder.train(params, x, coder_key, step / total)
        rate, error = jnp.mean(cost.rate), jnp.mean(cost.error)
        scalars = {"rate": rate, "distortion": error * lmbda / config.lmbda}
        return rate + lmbda * error, scalars

    def batches(
        process_index: int, process_count: int, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        del process_index, process_count, start_step
        nothing = np.zeros(config.devices or jax.local_device_count(), np.float32)
        while True:
            yield {"nothing": nothing}

    def held_out(state: TrainState) -> Mapping[str, float]:
        key = jax.random.key(config.seed + 1)
        return score(config, state.ema_params, key, config.validation_samples)._asdict()

    def cells(state: TrainState) -> np.ndarray:
        return pictures.pixels(
            pictures.figure(
                {config.model.coder: (coder, state.ema_params)}, source, side=300
            )
        )

    return Task(
        init=lambda key: initial_state(coder.init(key), adam),
        update=repeated(
            gradient_update(loss, adam, config.ema_decay), config.updates_per_step
        ),
        batches=batches,
        evaluations={"validation": held_out},
        pictures={"cells": cells} if source.dimensions == 2 else {},
    )


def repeated(update: Update, count: int) -> Update:
    """`count` updates as one: the state counts these, `update` sees the count of all.

    The scalars are means.
    """

    def one(state: TrainState, key: PRNGKeyArray) -> tuple[TrainState, Scalars]:
        return update(state, {}, key)

    def several(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Scalars]:
        del batch
        inner = state.replace(step=state.step * count)
        inner, scalars = jax.lax.scan(one, inner, jax.random.split(key, count))
        means = jax.tree.map(jnp.mean, scalars)
        return inner.replace(step=state.step + 1), means

    return several


def score(
    config: ml_collections.ConfigDict, params: Any, key: PRNGKeyArray, samples: int
) -> Score:
    """Rate and distortion of hard decisions on fresh samples.

    Args:
      config: as in `configs/toy.py`.
      params: of `coder_of(config)`.
      key: of the samples.
      samples: how many; rounded up to full groups of at most 65,536.
    """
    source, coder = source_of(config), coder_of(config)
    count = min(samples, _VECTORS, _NUMBERS // source.dimensions)
    factor = price(config) / config.lmbda

    @jax.jit
    def one(params: Any, key: PRNGKeyArray) -> tuple[Array, Array]:
        x = source.sample(key, count)
        code = coder.code(params, x)
        error = jnp.sum((x - code.reconstruction) ** 2, axis=-1)
        return jnp.mean(code.rate), factor * jnp.mean(error)

    keys = jax.random.split(key, -(-samples // count))
    # Summed in float64: float32 would lose digits over many parts.
    parts = np.array([jax.device_get(one(params, k)) for k in keys], np.float64)
    rate, distortion = parts.mean(axis=0)
    return Score(rate, distortion, rate + config.lmbda * distortion)
