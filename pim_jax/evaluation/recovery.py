"""Reference image recovery: which metrics lead back to the image they compare with?

From noise, or from a JPEG, pixels follow the gradient of the distance to the reference. A
metric that is zero for the reference alone leads there; one that many images satisfy ends
elsewhere, often at something worse than the start although it scores better.

Source: Ding, Ma, Wang & Simoncelli 2021, https://arxiv.org/abs/2005.01338. Their script
runs 20,000 steps of Adam at a learning rate of 0.005, halved every 2,000 steps down to
1e-4 with a new optimiser each time, and clamps pixels to [0, 1] after each step. Here the
rate falls along one cosine and the optimiser stays, so fewer steps suffice.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pim_jax.data import distortions
from pim_jax.evaluation import printed
from pim_jax.evaluation.tables import Score, Table
from pim_jax.metric import Metric
from pim_jax.metrics import pixel, ssim

STARTS = ("noise", "jpeg")
RECOVERED_DB = 30.0  # PSNR from which a result counts as the reference


class Settings(NamedTuple):
    """How pixels are moved.

    Attributes:
      steps: of Adam, for all images at once.
      learning_rate: of the first step, in units of the range of a pixel.
      final_fraction: what is left of it at the last step.
      jpeg_quality: of the start that is a JPEG, 1 to 100.
      seed: of the start that is noise.
      starts: where to begin, of STARTS.
    """

    steps: int = 1000
    learning_rate: float = 0.02
    final_fraction: float = 0.01
    jpeg_quality: int = 10
    seed: int = 0
    starts: tuple[str, ...] = STARTS


class Recovery(NamedTuple):
    """What came of it.

    Attributes:
      start, image: first and last images, (n, h, w, 3) float32 in [0, 1].
      distance: D(reference, image) before each step and after the last, (steps + 1, n).
      psnr: of the same images, in dB.
    """

    start: np.ndarray
    image: np.ndarray
    distance: np.ndarray
    psnr: np.ndarray


def starts(reference: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """Where recovery begins: uniform noise, or the reference as a JPEG.

    Args:
      reference: uint8 (n, h, w, 3).
      settings: what follows.

    Returns: name -> float32 (n, h, w, 3) in [0, 1].

    Raises:
      ValueError: a start that is not of STARTS.
    """
    if not set(settings.starts) <= set(STARTS):
        raise ValueError(f"starts must be among {STARTS}, found {settings.starts}")
    noise = np.random.default_rng(settings.seed).uniform(size=reference.shape)
    coded = [distortions.jpeg(x, 100 - settings.jpeg_quality) for x in reference]
    found: dict[str, tuple[str, np.ndarray]] = {
        "noise": ("noise", noise.astype(np.float32)),
        "jpeg": (
            f"jpeg {settings.jpeg_quality}",
            np.stack(coded, dtype=np.float32) / 255,
        ),
    }
    return dict(found[start] for start in settings.starts)


def recover(
    metric: Metric,
    reference: Float[Array, "n h w 3"],
    start: Float[Array, "n h w 3"],
    settings: Settings,
) -> Recovery:
    """Follows the gradient of metric(reference, image) from `start`.

    Every image has a gradient and an optimiser of its own, since Adam works on each pixel
    and the distances are summed.

    Args:
      metric: what is minimised.
      reference, start: in [0, 1].
      settings: `steps` and the learning rates.
    """
    rate = optax.cosine_decay_schedule(
        settings.learning_rate, settings.steps, settings.final_fraction
    )
    optimizer = optax.adam(rate)

    state = optimizer.init(start)
    image, found = start, []
    for _ in range(settings.steps):
        image, state, *scores = _step(optimizer, metric, reference, image, state)
        found.append(scores)
    found.append([*_last_scores(metric, reference, image)])
    distance, psnr = (np.stack(values) for values in zip(*found, strict=True))
    return Recovery(np.asarray(start), np.asarray(image), distance, psnr)


def _scores(metric: Metric, reference: Array, image: Array) -> tuple[Array, Array]:
    return metric(reference, image), pixel.psnr(reference, image)


_last_scores = jax.jit(_scores)


# Not a loop inside of the program: XLA's loops on CPUs take gradients of convolutions
# with one thread, which is several times slower. Nor a compiled function inside, whose
# gradient computes it once more: twice the time.
@functools.partial(jax.jit, static_argnums=0)
def _step(
    optimizer: optax.GradientTransformation,
    metric: Metric,
    reference: Array,
    image: Array,
    state: optax.OptState,
) -> tuple[Any, ...]:
    """Image and state after a step; distance and PSNR before it."""

    def total(image: Array) -> tuple[Array, tuple[Array, Array]]:
        scores = _scores(metric, reference, image)
        return jnp.sum(scores[0]), scores

    gradient, scores = jax.grad(total, has_aux=True)(image)
    updates, state = optimizer.update(gradient, state)
    moved = jnp.clip(optax.apply_updates(image, updates), 0.0, 1.0)
    return moved, state, *scores


def run(
    metrics: dict[str, Metric],
    reference: np.ndarray,
    settings: Settings,
    progress: Callable[[str], None] = lambda text: None,
    done: Callable[[dict[str, dict[str, Recovery]]], None] = lambda results: None,
) -> dict[str, dict[str, Recovery]]:
    """Start -> metric -> recovery, for uint8 references (n, h, w, 3).

    `done` is called after each recovery with those so far.
    """
    target = jnp.asarray(reference, jnp.float32) / 255
    results: dict[str, dict[str, Recovery]] = {}
    for begin, start in starts(reference, settings).items():
        results[begin] = {}
        for name, metric in metrics.items():
            progress(f"{name} from {begin}, {settings.steps} steps")
            results[begin][name] = recover(metric, target, jnp.asarray(start), settings)
            done(results)
    return results


def table(
    begin: str, recoveries: Mapping[str, Recovery], reference: np.ndarray
) -> Table:
    """Means over images: distance, PSNR and SSIM before and after, and how many recover.

    Args:
      begin: the start.
      recoveries: metric -> recovery from there.
      reference: uint8 (n, h, w, 3).

    Raises:
      ValueError: an image has NaN: the metric's gradient was not finite.
    """
    target = jnp.asarray(reference, jnp.float32) / 255
    rows = {}
    for name, found in recoveries.items():
        if not np.isfinite(found.image).all():
            raise ValueError(f"{name} from {begin}: the gradient was not finite")
        before, after = (
            np.asarray(ssim.ssim(target, jnp.asarray(x)))
            for x in (found.start, found.image)
        )
        rows[name] = {
            "D before": Score(printed.value(name, float(found.distance[0].mean()))),
            "D after": Score(printed.value(name, float(found.distance[-1].mean()))),
            "PSNR before": Score(float(found.psnr[0].mean())),
            "PSNR after": Score(float(found.psnr[-1].mean())),
            "least PSNR": Score(float(found.psnr[-1].min())),
            "SSIM before": Score(float(before.mean())),
            "SSIM after": Score(float(after.mean())),
            "recovered": Score(float((found.psnr[-1] >= RECOVERED_DB).mean())),
        }
    units = {"PSNR before": "dB", "PSNR after": "dB", "least PSNR": "dB"}
    columns = {measure: units.get(measure, "") for measure in next(iter(rows.values()))}
    n, height, width = reference.shape[:3]
    return Table(
        f"Recovery of {n} images of {width}x{height} from {begin}",
        {**columns, "recovered": "%"},
        rows,
        (
            f"recovered: images that end at {RECOVERED_DB:g} dB or more.",
            *(
                f"D of {name}: in {printed.unit(name)}, of the mean squared error; the "
                "larger, the closer."
                for name in recoveries
                if printed.unit(name)
            ),
        ),
        drawn=False,
    )
