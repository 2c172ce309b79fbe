"""Training of a codec as a task for the loop: model, objective and data meet here."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import logging
from jaxtyping import Array, PRNGKeyArray

from codec_jax import freezing, objective, ops
from codec_jax.latents.quantizer import check_quantization
from codec_jax.models import architectures
from codec_jax.models.architectures import Architecture
from codec_jax.models.codec import init_params
from pim_jax import losses
from pim_jax.data import image_crops
from pim_jax.training import devices, optimizer
from pim_jax.training.task import Task, TrainState, gradient_update, initial_state

# Crops of the validation at a time.
_AT_ONCE = 4

# What the PSNR in the scores says already.
_SAID_BY_PSNR = ("mse", "psnr")


def make(config: ml_collections.ConfigDict, workdir: Path | None = None) -> Task:
    """Training of a transform codec on crops of images.

    Args:
      config: as in `configs/codec.py`.
      workdir: not used; everything that training writes, the loop writes.
    Raises: ValueError for options that do not fit, FileNotFoundError for missing data or
      for nothing to start from.
    """
    del workdir
    model = architectures.from_dict(config.model)
    axis_name = devices.AXIS if config.compile == "pmap" else None
    devices.check_batch_size(config.data.batch_size, config.devices)  # Before data.
    images = _images(config.data)
    moves = optax.chain(
        optimizer.make(config.optimizer, config.steps),
        scaled(config.optimizer.factors),
    )
    loss = make_loss(model, config.objective, config.steps, axis_name)
    distortion = losses.make_distortion(
        config.objective.distortion, config.objective.weights
    )
    lambdas = make_lambdas(config.objective, model)
    _check_crops(config, distortion.minimum_size)
    _tell_of_lambdas(config, lambdas)
    first_params = _first_params(config.start_from, model)

    def batches(
        process_index: int, process_count: int, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        return image_crops.batches(
            images["train"],
            crop=config.data.crop,
            batch_size=config.data.batch_size,
            seed=config.seed,
            process_index=process_index,
            process_count=process_count,
            start_step=start_step,
            scale=tuple(config.data.scale),
        )

    crops = image_crops.validation_crops(
        images["validation"], config.data.validation_crops, config.data.validation_crop
    )

    def held_out(state: TrainState) -> Mapping[str, float]:
        return validation_scores(state.ema_params, model, crops, distortion, lambdas)

    def decoded(state: TrainState) -> np.ndarray:
        return picture(state.ema_params, model, crops[:4])

    return Task(
        init=lambda key: initial_state(first_params(key), moves),
        update=gradient_update(loss, moves, config.ema_decay, axis_name),
        batches=batches,
        evaluations={"validation": held_out},
        pictures={"decoded": decoded},
    )


def _first_params(source: str, model: Architecture) -> Callable[[PRNGKeyArray], Any]:
    """From a key to the weights that training starts from; see `config.start_from`."""
    if not source:
        return lambda key: init_params(architectures.networks(model), key)
    trained, found = freezing.to_train_further(source)
    if difference := _difference(found, model):
        raise ValueError(
            f"start_from={source!r} was trained with another architecture: {difference}; "
            "set config.model to its own"
        )
    return lambda key: jax.tree.map(jnp.asarray, trained)


def _difference(found: Architecture, model: Architecture) -> str:
    """The first setting by which weights of one do not serve the other; '' if they do."""
    wanted_by_name = model.to_dict()
    for name, value in found.to_dict().items():
        wanted = wanted_by_name.get(name)
        # Rates may move, but not become more or fewer; dither comes with freezing.
        same = value == wanted
        if name == "lambdas" and wanted is not None:
            same = len(value) == len(wanted)
        if name != "dither" and not same:
            return f"{name} is {value}, found config.model.{name} = {wanted}"
    return ""


def make_loss(
    model: Architecture,
    options: ml_collections.ConfigDict,
    steps: int,
    axis_name: str | None,
) -> Any:
    """The loss of `gradient_update`: rate + lambda * distortion.

    Args:
      model: the architecture.
      options: `distortion`, `weights`, `lambdas`, `quantization`, `alpha`,
        `expected_gradient`, `balance`, `lambda_warmup_steps`, `lambda_start`, see
        `configs/codec.py`.
      steps: length of the run, over which alpha goes from its first to its last value.
      axis_name: the pmap axis, or None under jit.

    Raises: ValueError for an unknown quantization; and as `losses.make_distortion` and
      `make_lambdas`.
    """
    quantization, averaged = options.quantization, options.expected_gradient
    try:
        check_quantization(quantization, averaged)
    except ValueError as error:
        raise ValueError(f"objective.{error}") from error
    distortion = losses.make_distortion(options.distortion, options.weights)
    lambdas = make_lambdas(options, model)
    codec = architectures.networks(model)
    middle = float(np.exp(np.mean(np.log(lambdas))))

    def loss(
        params: Any, batch: Mapping[str, Array], key: PRNGKeyArray, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        images = batch["image"].astype(jnp.float32) / 255
        keys = devices.keys_of_rows(key, len(images), axis_name)
        pairs = jax.vmap(jax.random.split)(keys)
        rate = jax.vmap(jax.random.uniform)(pairs[:, 0]) * (len(model.lambdas) - 1)
        alpha = options.alpha[0] + (options.alpha[1] - options.alpha[0]) * step / steps
        passed: Any = codec.apply(
            {"params": params}, images, rate, pairs[:, 1], quantization, alpha, averaged
        )
        pixels = images.shape[1] * images.shape[2]
        bpp, hyper_bpp = passed.bits / pixels, passed.hyper_bits / pixels
        weight = objective.lambda_at(rate, lambdas)
        warm = objective.warmed_up(
            step, options.lambda_warmup_steps, options.lambda_start
        )
        each = distortion.each(images, passed.images)
        value = objective.lagrangian(
            bpp, distortion.total(each), weight * warm, options.balance, middle
        )
        error = losses.squared_error(images, passed.images)
        return value, {
            "bpp": jnp.mean(bpp),
            "hyper_bpp": jnp.mean(hyper_bpp),
            "psnr": jnp.mean(losses.psnr(error)),
            **{k: jnp.mean(v) for k, v in each.items() if k not in _SAID_BY_PSNR},
        }

    return loss


def make_lambdas(
    options: ml_collections.ConfigDict, model: Architecture
) -> tuple[float, ...]:
    """The weight of the distortion at each rate of the model.

    Args:
      options: `lambdas`, and `distortion`, which decides where `lambdas` is empty:
        squared error's weights if it is among the names, else those of the first name.
      model: its `lambdas` name the rates, and are the weights of squared error.

    Raises: ValueError for another number of weights than of rates, weights that are not
      positive and ascending, or none for a distortion that has no default.
    """
    given = tuple(float(value) for value in options.get("lambdas", ()))
    if not given:
        names = losses.metric_names(options.distortion)
        try:
            scale = "mse" if "mse" in names else names[0]
            return objective.lambdas_for(scale, model.lambdas)
        except ValueError as error:
            raise ValueError(
                f"objective.lambdas is empty, but {error}; give {len(model.lambdas)}, "
                "which `python -m tests.benchmarks.lambdas` measures"
            ) from error
    if len(given) != len(model.lambdas):
        raise ValueError(
            f"objective.lambdas has {len(given)} weights, {given}, expected "
            f"{len(model.lambdas)}, one for each rate in model.lambdas"
        )
    rising = all(a < b for a, b in itertools.pairwise(given))
    if not rising or not all(0 < value < math.inf for value in given):
        raise ValueError(
            f"objective.lambdas is {given}, expected positive and ascending"
        )
    return given


def _check_crops(config: ml_collections.ConfigDict, smallest: int) -> None:
    for key in ("crop", "validation_crop"):
        if 0 < config.data[key] < smallest:  # what is not positive is told elsewhere
            raise ValueError(
                f"data.{key} is {config.data[key]}, but the distortion "
                f"{config.objective.distortion!r} needs at least {smallest} pixels"
            )


def _tell_of_lambdas(
    config: ml_collections.ConfigDict, lambdas: tuple[float, ...]
) -> None:
    """Logs the weights of another distortion than squared error."""
    names = config.objective.distortion
    if names == "mse":
        return
    shown = ", ".join(f"{value:.4g}" for value in lambdas)
    logging.info("lambda of %s at each rate: %s", names, shown)
    if not config.start_from and not config.objective.get("lambdas", ()):
        logging.warning(
            "the default lambdas of %s are for going on from a codec that was trained "
            "for squared error; config.start_from names none, so this starts from "
            "random weights",
            names,
        )


def scaled(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of whole modules: learning rates of their own.

    Adam and Muon keep moments for each array, so this is what a second optimizer of the
    same kind would do, except that the norm for clipping is that of all gradients.

    Args:
      factors: top-level name of parameters -> factor; 1 for all others. One that is 1
        may also be of a module that this model has not.

    Raises: ValueError, when the state is made, for any other that is no module.
    """

    def init(params: Any) -> optax.EmptyState:
        unknown = sorted(k for k in factors if k not in params and factors[k] != 1)
        if unknown:
            raise ValueError(
                f"optimizer.factors has {unknown}; parameters are {sorted(params)}"
            )
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        moved = {
            name: optax.tree.scale(factors.get(name, 1.0), part)
            for name, part in updates.items()
        }
        return moved, state

    return optax.GradientTransformation(init, update)


def validation_scores(
    params: Any,
    model: Architecture,
    crops: np.ndarray,
    distortion: losses.Distortion = losses.SQUARED_ERROR,
    lambdas: tuple[float, ...] | None = None,
) -> dict[str, float]:
    """Rounded, not coded: bpp, PSNR and what is trained, at each rate, and R + lambda D.

    Args:
      params: weights.
      model: their architecture.
      crops: uint8 (n, h, w, 3).
      distortion: what is trained.
      lambdas: its weight at each rate; the model's if None.

    Returns: 'bpp_0', 'psnr_0' and so on; 'ms-ssim_0' and so on of each metric that is
      trained, squared error aside; 'log_lagrangian', the mean over the rates of
      log(R + lambda D), absent where a metric is so negative that there is no logarithm.
    """
    scores: dict[str, float] = {}
    values = []
    for rate, weight in enumerate(lambdas or model.lambdas):
        parts = [
            rounded(params, model, distortion, crops[i : i + _AT_ONCE], rate)
            for i in range(0, len(crops), _AT_ONCE)
        ]
        bpp, error, each = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        scores[f"bpp_{rate}"] = float(np.mean(bpp))
        scores[f"psnr_{rate}"] = float(jnp.mean(losses.psnr(jnp.asarray(error))))
        for name, value in each.items():
            if name not in _SAID_BY_PSNR:
                scores[f"{name}_{rate}"] = float(np.mean(value))
        values.append(float(np.mean(bpp + weight * distortion.total(each))))
    if min(values) > 0:
        # The logarithm counts a per cent alike at every rate.
        scores["log_lagrangian"] = float(np.mean(np.log(values)))
    return scores


def rounded(
    params: Any,
    model: Architecture,
    distortion: losses.Distortion,
    crops: np.ndarray,
    rate: float,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """What crops become at a rate with rounding, as 8 bits, without coding them.

    Args:
      params: weights.
      model: their architecture.
      distortion: what to measure.
      crops: uint8 (n, h, w, 3).
      rate: position in `model.lambdas`, also between two.

    Returns: bpp (n,), squared error (n,), and each metric of the distortion (n,).
    """
    images = jnp.asarray(crops, jnp.float32) / 255
    at = jnp.full(len(crops), rate, jnp.float32)
    measured = _rounded_jit(params, model, distortion, images, at)
    return jax.tree.map(np.asarray, measured)


def _measure(
    params: Any,
    model: Architecture,
    distortion: losses.Distortion,
    images: Array,
    rate: Array,
) -> tuple[Array, Array, dict[str, Array]]:
    passed: Any = architectures.networks(model).apply({"params": params}, images, rate)
    shown = ops.eight_bits(passed.images) / 255
    bpp = passed.bits / (images.shape[1] * images.shape[2])
    error = losses.squared_error(images, shown)
    return bpp, error, distortion.each(images, shown)


_rounded_jit = jax.jit(_measure, static_argnums=(1, 2))


def picture(params: Any, model: Architecture, crops: np.ndarray) -> np.ndarray:
    """Crops above the same at the lowest, a middle and the highest rate, uint8."""
    rates = sorted({0, len(model.lambdas) // 2, len(model.lambdas) - 1})
    images = jnp.asarray(crops, jnp.float32) / 255
    rows = [np.concatenate(list(crops), 1)]
    for rate in rates:
        passed: Any = architectures.networks(model).apply(
            {"params": params}, images, jnp.full(len(crops), rate * 1.0)
        )
        shown = np.asarray(ops.eight_bits(passed.images))
        rows.append(np.concatenate(list(shown.astype(np.uint8)), 1))
    return np.concatenate(rows, 0)


def _images(options: ml_collections.ConfigDict) -> dict[str, image_crops.Images]:
    if options.tfds and options.image_dir:
        raise ValueError(
            f"data.tfds is {options.tfds!r} and data.image_dir {options.image_dir!r}; "
            "expected one of them"
        )
    if options.tfds:
        directory = options.tfds_dir or None
        return {
            "train": image_crops.TfdsImages(options.tfds, "train", directory),
            "validation": image_crops.TfdsImages(options.tfds, "validation", directory),
        }
    return image_crops.read_folders(options.image_dir, options.validation_fraction)
