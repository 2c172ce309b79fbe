"""Repeated timing of calls in turn, and how many products a network takes."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from pim_jax.pim.model import VARIANTS, ModelConfig, pyramid

Call = Callable[[], Any]


class Timing(NamedTuple):
    """Seconds of one call: median, quartiles, and how often it was timed."""

    median: float
    lower: float
    upper: float
    repetitions: int


def in_turn(
    calls: Mapping[str, Call], seconds: float, least: int = 3
) -> dict[str, list[float]]:
    """Seconds of each timed call, round by round.

    Every call runs once before, to compile. The calls take turns, so that whatever else
    the machine does meets all of them, and `ratio` compares calls of one round.

    Args:
      calls: each blocks until its result is there, or returns JAX arrays.
      seconds: after this long, and at least `least` rounds, no further round begins.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    taken: dict[str, list[float]] = {name: [] for name in calls}
    begin, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - begin < seconds:
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append(time.perf_counter() - start)
        rounds += 1
    return taken


def summary(seconds: list[float]) -> Timing:
    """Median and quartiles."""
    lower, median, upper = np.percentile(seconds, [25, 50, 75]).tolist()
    return Timing(median, lower, upper, len(seconds))


def ratio(seconds: list[float], reference: list[float]) -> Timing:
    """Median and quartiles of the ratio of the calls of each round."""
    return summary((np.array(seconds) / np.array(reference)).tolist())


def pass_flops(
    config: ModelConfig, height: int, width: int, joint: bool = False
) -> int:
    """Floating-point operations of one image through CNNs and marginal encoders.

    Convolutions and dense layers, two operations a product. The pyramid, biases and the
    divergence are left out: a few parts in a hundred.

    Args:
      config: with 'same' padding.
      height, width: of the image in pixels.
      joint: count the joint encoder as well.
    """
    image = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    levels = jax.eval_shape(lambda x: pyramid(config, x), image)
    pixels = sum(level.shape[1] * level.shape[2] for level in levels)
    variant, m, z = VARIANTS[config.variant], config.components, config.z_dim
    features = config.filters[-1]
    products = 25 * _chain(3, *config.filters)
    products += _chain(features, m * z, m * z)
    products += (m * z) ** 2 if variant.linear_output else 0
    products += _chain(features, m, m, m) if m > 1 else 0
    if joint:
        layers = variant.joint_layers
        products += _chain(features, *[z] * layers) + 2 * layers * features * z
    return 2 * pixels * products


def _chain(*widths: int) -> int:
    return sum(a * b for a, b in itertools.pairwise(widths))
