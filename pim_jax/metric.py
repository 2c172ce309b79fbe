"""A metric: a pytree of weights, and the pure function that compares images by them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from pim_jax.ops import bounds

# How far a sample may be outside of [0, 1] and count as rounding.
_BEYOND = 1e-6
# Those a metric is called with; `check_images` makes them float32 arrays of JAX.
Images = Shaped[Array | np.ndarray, "n h w 3"]

_Same = TypeVar("_Same", bound="Metric")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Metric:
    """A distance between images with its weights: an immutable pytree.

    `metric(image_a, image_b)` gives (n,) float32, smaller is closer. It can be called
    under any transformation of JAX, closed over or passed as an argument. A plain call
    compiles itself, once for each `function` and size of images. (Metrics are compared by
    identity, so that `jax.jit(metric)` works: there the weights become constants of the
    program.)

    Metrics that differ in `name` and `version` alone share compiled programs, also as
    arguments of a jitted function. While such a function is traced, and in a metric that
    it returns, both are those of the metric for which it was compiled.

    A subclass may add methods, but no attributes; it is a pytree as well.

    Attributes:
      params: the weights, the leaves of the pytree.
      function: (params, image_a, image_b) -> (n,), hashable and pure. Of one with a true
        attribute `passes_nan` the distance is NaN if any sample of the two images is;
        for any other, a pass over the images sees to that.
      name: for tables and messages.
      minimum_size: smallest accepted height and width in pixels.
      version: changes whenever the values of a named metric do; empty for weights from
        a folder.
    """

    params: Any
    function: Callable[..., Any]
    name: str
    minimum_size: int = 1
    version: str = ""

    def __init_subclass__(cls, **options: Any) -> None:
        """Makes the subclass a pytree, which JAX asks for class by class."""
        super().__init_subclass__(**options)
        _register(cls)

    def replace(self: _Same, **changes: Any) -> _Same:
        """The metric with other attributes."""
        return dataclasses.replace(self, **changes)

    def __call__(self, image_a: Images, image_b: Images) -> Float[Array, " n"]:
        """Distance of each pair of images.

        Args:
          image_a, image_b: (n, h, w, 3) floating point in [0, 1], sRGB. Under jit, where
            no value is known, NaN makes the distance of its pair NaN, and other values
            are clipped as by `ops.bounds.unit_range`, with a gradient that leads back.
        Raises: ValueError for another shape or dtype, sizes that differ, images below
          `minimum_size` and, outside of jit, values beyond [0, 1] or not finite.
        """
        images = check_images(image_a, image_b, minimum_size=self.minimum_size)
        return _compiled_distance(self.function, self.params, *images)

    def __repr__(self) -> str:
        """On one line, with the number of weights in place of the weights."""
        leaves = jax.tree.leaves(self.params)
        count = sum(math.prod(getattr(leaf, "shape", ())) for leaf in leaves)
        version = f"version={self.version!r}, " if self.version else ""
        return (
            f"{type(self).__name__}({self.name!r}, {version}{count:,} weights, at least "
            f"{self.minimum_size} px)"
        )


@dataclasses.dataclass(frozen=True)
class _Static:
    """A metric without its weights, as JAX compares it to decide whether to compile."""

    function: Callable[..., Any]
    minimum_size: int
    name: str = dataclasses.field(compare=False)
    version: str = dataclasses.field(compare=False)


def _register(kind: type[Metric]) -> None:
    """Makes a class of metrics a pytree."""

    def static(metric: Metric) -> _Static:
        return _Static(
            metric.function, metric.minimum_size, metric.name, metric.version
        )

    jax.tree_util.register_pytree_with_keys(
        kind,
        lambda m: (((jax.tree_util.GetAttrKey("params"), m.params),), static(m)),
        lambda static, children: kind(*children, **vars(static)),
        lambda m: ((m.params,), static(m)),
    )


_register(Metric)


# Inlined, so that within another program it leaves no trace.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _compiled_distance(
    function: Callable[..., Any], params: Any, image_a: Array, image_b: Array
) -> Float[Array, " n"]:
    """The function of images that may have any values."""
    if getattr(function, "passes_nan", False):
        a, b = map(bounds.unit_range_or_nan, (image_a, image_b))
        return jnp.asarray(function(params, a, b), jnp.float32)
    a, b = map(bounds.unit_range, (image_a, image_b))
    distance = jnp.asarray(function(params, a, b), jnp.float32)
    return distance * bounds.holds_nan(image_a, image_b)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def compiled(
    function: Callable[..., Any], params: Any, *arrays: Any
) -> Any:  # any pytree
    """function(params, *arrays), compiled also outside of jit; `function` is hashable."""
    return function(params, *arrays)


def on_device(params: Any) -> Any:
    """The weights as arrays of JAX, which a plain call need not copy each time."""
    return jax.tree.map(jnp.asarray, params)


def check_images(
    *images: Any, minimum_size: int = 1
) -> tuple[Float[Array, "..."], ...]:
    """The images as float32 arrays, or a ValueError that says what is wrong.

    Values are checked only where they are known, outside of jit; up to 1e-6 beyond [0, 1]
    they count as rounded. They are returned as they are.
    """
    images = tuple(map(_native, images))
    for image in images:
        _check_shape(image)
        if image.shape != images[0].shape:
            raise ValueError(
                f"both images must have the same shape, found {images[0].shape} and "
                f"{image.shape}"
            )
        if min(image.shape[1:3]) < minimum_size:
            height, width = image.shape[1:3]
            raise ValueError(
                f"images must be at least {minimum_size} pixels high and wide for this "
                f"metric, found {height}x{width}"
            )
    known = [image for image in images if not isinstance(image, jax.core.Tracer)]
    _check_values([image for image in known if image.size])
    return tuple(map(_float32, images))


def _float32(image: Any) -> Float[Array, "..."]:
    """As JAX's float32; what is that already is not converted, which takes its time."""
    if isinstance(image, jax.Array) and image.dtype == jnp.float32:
        return image
    return jnp.asarray(image, jnp.float32)


def _native(image: Any) -> Any:
    """An image as JAX takes it: NumPy has the other byte order, and wider numbers, too."""
    if not isinstance(image, np.ndarray) or not np.issubdtype(image.dtype, np.floating):
        return image
    known = image.dtype.isnative and image.dtype.itemsize <= 8
    return image if known else image.astype(np.float64)


def _check_shape(image: Any) -> None:
    """Of one image, which may be anything."""
    if not isinstance(image, np.ndarray | jax.Array):
        # Not the value itself, which may be a million numbers.
        raise ValueError(
            f"expected an array of NumPy or JAX, found {type(image).__name__}; "
            "jnp.asarray makes one of lists and of most other libraries' arrays"
        )
    if image.ndim != 4 or image.shape[-1] != 3:
        raise ValueError(
            "expected images of shape (n, height, width, 3), found "
            f"{image.shape}; {_hint(image.shape)}"
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"expected floating-point images in [0, 1], found {image.dtype}; divide "
            "8-bit images by 255"
        )


def _hint(shape: tuple[int, ...]) -> str:
    """How images of another shape become what is expected."""
    if len(shape) in (3, 4) and shape[-3] == 3 and shape[-1] != 3:
        moved = "jnp.moveaxis(image, -3, -1)"
        return f"channels come last: {moved + ('' if len(shape) == 4 else '[None]')}"
    if len(shape) == 4 and shape[-1] == 1:
        return "a grey image needs its channel three times: jnp.repeat(image, 3, -1)"
    if len(shape) == 4 and shape[-1] == 4:
        return "an alpha channel is to be left out"
    return "a single image needs image[None]"


def _check_values(images: Sequence[Any]) -> None:
    """Of arrays that are not empty and no tracers."""
    extremes, elsewhere = [], []
    for image in images:
        if _on_host(image):
            array = np.asarray(image)
            extremes.append((array.min(), array.max()))
        else:
            elsewhere.append(image)
    if elsewhere:
        # A constant that a jitted function closes over is known as well.
        with jax.ensure_compile_time_eval():
            extremes += np.asarray(_extremes(elsewhere)).tolist()
    for low, high in extremes:
        if not -_BEYOND <= low <= high <= 1 + _BEYOND:  # nor if they are NaN
            _refuse(low, high)


def _refuse(low: float, high: float) -> NoReturn:
    if not np.isfinite([low, high]).all():
        raise ValueError("images must be finite, found NaN or infinite values")
    raise ValueError(
        f"expected values in [0, 1], found [{low:.6g}, {high:.6g}]; divide 8-bit "
        "images by 255 and clip reconstructions"
    )


def _on_host(image: Any) -> bool:
    """Whether NumPy can look at its values where they are, which needs no program."""
    if image.dtype.itemsize < 4:  # types for which NumPy is slow, or that it lacks
        return False
    if isinstance(image, np.ndarray):
        return True
    devices = image.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


# One program and one transfer for all images.
@jax.jit
def _extremes(images: list[Float[Array, "*s"]]) -> Float[Array, "k 2"]:
    return jnp.stack(
        [jnp.stack([jnp.min(x), jnp.max(x)]).astype(jnp.float32) for x in images]
    )
