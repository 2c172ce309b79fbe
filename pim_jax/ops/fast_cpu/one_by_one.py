"""Whole-batch functions image by image, where that is faster."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def one_by_one(
    function: Callable[[Array], Array], images: Float[Array, "n ..."]
) -> Float[Array, "n ..."]:
    """function(images); on CPUs one image after the other.

    What lies between the steps of `function` stays in the cache then. For transforms and
    maps that are many times larger than their images, that is several times faster.

    Args:
      function: of a batch, whose images it treats alike and apart.
      images: the batch.
    """

    def in_turn(batch: Array) -> Array:
        found: Array = jax.lax.map(lambda image: function(image[None])[0], batch)
        return found

    return jax.lax.platform_dependent(images, cpu=in_turn, default=function)
