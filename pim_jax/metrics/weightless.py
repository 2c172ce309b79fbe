"""Metrics that are a function of two images and nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import Array, Float

from pim_jax.metric import Metric
from pim_jax.metrics.about import ABOUT

OfImages = Callable[[Float[Array, "n h w 3"], Float[Array, "n h w 3"]], Array]


@dataclasses.dataclass(frozen=True)
class _WithoutParams:
    """A function of images with the signature of `Metric.function`."""

    function: OfImages

    def __call__(self, params: Any, image_a: Array, image_b: Array) -> Array:
        del params
        return self.function(image_a, image_b)


def loader(name: str, function: OfImages) -> Callable[..., Metric]:
    """What METRICS holds for a metric without weights.

    Args:
      name: of the metric, with an entry in ABOUT.
      function: images (n, h, w, 3) in [0, 1] to distances (n,), defined in a module.
    """
    ours = _WithoutParams(function)

    def load(weights: str | Path | None = None) -> Metric:
        if weights is not None:
            raise ValueError(f"{name} has no weights, found weights={str(weights)!r}")
        about = ABOUT[name]
        return Metric(
            params={},
            function=ours,
            name=name,
            minimum_size=about.minimum_size,
            version=about.version,
        )

    load.__doc__ = f"The metric `{name}`, {ABOUT[name].reference}. It has no weights."
    return load
