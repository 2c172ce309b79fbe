"""Distances of the PIMs that ship beside the published computation in TensorFlow.

    python -m tests.benchmarks.published_table

Of photographs of 64x64 and five versions of each. The published distance of mixtures is
random, so there means of draws are compared, in units of their standard error.
docs/results.md has results.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich
from rich.table import Table

import pim_jax
from pim_jax.data import distortions, photographs
from pim_jax.pim import checkpoints, packaged
from tests.benchmarks import tensorflow_reference

_DRAWS = 12  # of distances that are random
# Random distances are slow.
_PAIRS_OF_MIXTURES = 5


class Comparison(NamedTuple):
    """Distances of the same pairs, (n,).

    Attributes:
      ours: what `pim_jax.load(name)` gives; of mixtures the mean of its random estimate.
      published: the same in TensorFlow.
      error: standard error of the difference; 0 where nothing is random.
    """

    ours: np.ndarray
    published: np.ndarray
    error: np.ndarray


def photograph_pairs() -> tuple[jax.Array, jax.Array]:
    """Photographs and five versions of each, from barely to badly changed."""
    found = photographs.photographs("", 64)
    steps = [
        (distortions.noise, 2),
        (distortions.blur, 0.6),
        (distortions.jpeg, 60),
        (distortions.colour_shift, 10),
        (distortions.contrast, 0.4),
    ]
    a = np.stack([x for x in found.values() for _ in steps])
    b = np.stack([apply(x, s, 0) for x in found.values() for apply, s in steps])
    return jnp.asarray(a / 255, jnp.float32), jnp.asarray(b / 255, jnp.float32)


def compare(name: str, a: jax.Array, b: jax.Array) -> Comparison:
    """A metric that ships beside the published computation with its weights.

    Args:
      name: of the metric.
      a, b: images (n, 64, 64, 3); of mixtures only the first five are taken.

    Raises: ImportError without TensorFlow.
    """
    params, config = checkpoints.read(packaged.folder_of(name))
    published, metric = tensorflow_reference.make(params, config), pim_jax.load(name)
    with jax.default_matmul_precision("highest"):
        if config.components == 1:
            ours, theirs = metric(a, b), published(np.asarray(a), np.asarray(b))
            return Comparison(np.asarray(ours), np.asarray(theirs), np.zeros(len(a)))
        a, b = a[:_PAIRS_OF_MIXTURES], b[:_PAIRS_OF_MIXTURES]
        # The weights as an argument: as constants they would be folded for minutes.
        draw = jax.jit(lambda metric, key: metric.estimate(a, b, key=key))
        ours = np.stack([draw(metric, jax.random.key(i)) for i in range(_DRAWS)])
        theirs = np.stack(
            [published(np.asarray(a), np.asarray(b)) for _ in range(_DRAWS)]
        )
    error = np.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / _DRAWS)
    return Comparison(ours.mean(0), theirs.mean(0), error)


def main() -> None:
    """Prints the table."""
    table = Table(
        "metric", "pairs", "distances", "largest relative difference", "in errors"
    )
    for name in packaged.SHIPPED:
        found = compare(name, *photograph_pairs())
        difference = np.abs(found.ours - found.published)
        random = found.error.any()
        table.add_row(
            name,
            str(len(difference)),
            f"{found.ours.min():.3g} to {found.ours.max():.3g}",
            f"{np.max(difference / found.published):.1e}",
            f"{np.max(difference / found.error):.1f}" if random else "",
        )
    rich.print(table)


if __name__ == "__main__":
    main()
