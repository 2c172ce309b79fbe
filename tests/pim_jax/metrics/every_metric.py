"""Every metric of METRICS without a download: networks with weights of one value or so.

Run as a program, this file traces all of them with 64-bit types and strict promotion of
types switched on, and says what is wrong. Both are settings of a whole process.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.features import backbones
from pim_jax.metric import Metric
from pim_jax.metrics import METRICS, deepiqa, dists, lpips, pieapp

# Those of the same function as another, or of another width or backbone alone.
TWINS = {"psnr", "pim-1", "lpips-vgg"} | {
    name for name in METRICS if name.endswith(("-v0.0", "-baseline", "-published"))
}
NAMES = [name for name in METRICS if name not in TWINS]
# Scores of a network, which are no distances.
SCORES = {"pieapp", "deepiqa"}
WITH_WEIGHTS_OF_ITS_OWN = {name for name in NAMES if not METRICS[name].needs_download}


def _spread(shape: tuple[int, ...]) -> np.ndarray:
    """Weights of both signs, sized as random ones are, that cost nothing to make."""
    fan_in = max(int(np.prod(shape[:-1])), 1)
    row = np.cos(np.arange(shape[-1])) * np.sqrt(4 / fan_in)
    return np.broadcast_to(np.float32(row + 0.5 / fan_in), shape)


def _backbone(name: str) -> dict:
    found: dict = {}
    for key, shape in backbones.parameter_shapes(name).items():
        *path, last = key.split("/")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = _spread(shape)
    return found


def _given(module) -> Metric:
    shapes = module.published_shapes()
    # Inputs come last in published files.
    state = {
        k: np.moveaxis(_spread(v[::-1]), 0, -1).reshape(v) for k, v in shapes.items()
    }
    return module.metric(module.from_published(state))


_MAKE: dict[str, Callable[[], Metric]] = {
    "dists": lambda: dists.metric(_backbone("vgg16")),
    "pieapp": lambda: _given(pieapp),
    "deepiqa": lambda: _given(deepiqa),
    **{
        f"lpips-{network}": lambda network=network, trunk=trunk: lpips.metric(
            network, backbone=_backbone(trunk.backbone)
        )
        for network, trunk in lpips.TRUNKS.items()
    },
}


def make(name: str) -> Metric:
    """The metric; of a network with weights that are downloaded, with others."""
    return _MAKE.get(name, METRICS[name])()


def side(name: str) -> int:
    """A size of images that it takes."""
    return max(24, METRICS[name].minimum_size)


def value_and_gradients(metric: Metric, a: jax.Array, b: jax.Array):
    """The distances, and the gradients of their sum by both images."""

    def total(images):
        distance = metric(*images)
        return jnp.sum(distance), distance

    gradients, distance = jax.grad(total, has_aux=True)((a, b))
    return distance, *gradients


def main() -> None:
    """Traces all metrics and their gradients; prints a line for each that does not fit."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    for name in NAMES:
        image = jax.ShapeDtypeStruct((2, side(name), side(name) + 1, 3), jnp.float16)
        try:
            traced = jax.make_jaxpr(value_and_gradients)(make(name), image, image)
        except Exception as error:
            print(f"{name}: {type(error).__name__} {str(error)[:300]}")
            continue
        kinds = [out.dtype for out in traced.out_avals]
        if kinds != [jnp.float32, jnp.float16, jnp.float16]:
            print(f"{name}: {kinds} of {image.dtype}")
        wide = wide_types(traced.jaxpr)
        if wide:
            print(f"{name}: computes in {sorted(wide)}")
    image = np.zeros((1, 8, 8, 3))  # float64
    levels = jax.eval_shape(make("pim-1-small").represent, image)
    if {leaf.dtype for leaf in jax.tree.leaves(levels)} != {np.dtype("float32")}:
        print("pim-1-small: its representation is not float32")
    distance = make("mse")(image, image)
    if distance.dtype != jnp.float32:
        print(f"mse: {distance.dtype} of {image.dtype}")


def _inner(params: dict) -> Iterator:
    """The programs within an equation."""
    for value in jax.tree.leaves(list(params.values()), is_leaf=lambda x: x is None):
        if hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value


def wide_types(jaxpr) -> set[str]:
    """64-bit floating-point types of anything with an axis that a program computes."""
    found = set()
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            kind = getattr(variable.aval, "dtype", None)
            wide = kind in (np.dtype("float64"), np.dtype("complex128"))
            if wide and variable.aval.shape:
                found.add(f"{kind} ({equation.primitive})")
        for inner in _inner(equation.params):
            found |= wide_types(inner)
    return found


if __name__ == "__main__":
    main()
