"""Metrics that are a function of two images and nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import Array, Float

from pim_jax.metric import Metric
from pim_jax.metrics.entry import Entry

OfImages = Callable[[Float[Array, "n h w 3"], Float[Array, "n h w 3"]], Array]


@dataclasses.dataclass(frozen=True)
class _WithoutParams:
    """A function of images with the signature of `Metric.function`."""

    function: OfImages
    passes_nan: bool

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        del params
        return self.function(image_a, image_b)


def entry(
    name: str,
    function: OfImages,
    reference: str,
    *,
    passes_nan: bool = False,
    **known: Any,
) -> Entry:
    """The entry in METRICS of a metric without weights.

    Args:
      name: of the metric.
      function: images (n, h, w, 3) in [0, 1] to distances (n,), defined in a module.
      reference: see `Entry`.
      passes_nan: the arithmetic of `function` itself makes the distance NaN if any sample
        of the two images is, see `Metric.function`.
      known: further attributes of `Entry`.
    """

    def load(weights: str | Path | None) -> Metric:
        if weights is not None:
            raise ValueError(f"{name} has no weights, found weights={str(weights)!r}")
        return Metric(
            params={},
            function=_WithoutParams(function, passes_nan),
            name=name,
            minimum_size=made.minimum_size,
            version=made.version,
        )

    made = Entry(name, load, reference, **known)
    return made
