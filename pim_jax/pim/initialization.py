"""The random weights that training starts from.

The paper does not say how its weights start. It matters: IXYZ has a saddle at zero, where
nothing depends on the image. While p(z|x,y) and q(z|x) are unrelated functions, the
quickest way to make them agree is to make both constant, and with the usual draw (LeCun
normal, zero biases) many runs end there; docs/results.md has the figures. The draw here
starts beyond the saddle, because the encoders agree from the beginning:

- kernels before a ReLU keep the variance of their input (He et al. 2015,
  https://arxiv.org/abs/1502.01852), and the first layer of each level takes away what the
  level shows of a grey image and undoes how faint it is in natural images;
- the joint encoder starts close to a function of x alone (its factors close to one, its
  summands small), and every component of q(z|x) starts close to that same function.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from pim_jax.pim.model import ModelConfig, param_shapes, pyramid

# Mean, and standard deviation within crops of 64x64, that natural images have, about.
GREY, CONTRAST = 0.45, 0.2
# How far what should agree at the beginning is apart, in units of its own size: enough
# for components to go different ways.
_APART = 0.05


def init_params(config: ModelConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Random weights, float32, as a nested dictionary."""
    leaves, structure = jax.tree_util.tree_flatten(param_shapes(config))
    # Leaf by leaf: compiling the initialisation of two hundred arrays as one program
    # takes minutes, and the few distinct shapes are compiled only once this way.
    params: dict[str, Any] = jax.tree_util.tree_unflatten(
        structure,
        [
            jnp.zeros(leaf.shape, jnp.float32)
            if leaf.ndim == 1
            else nn.initializers.lecun_normal()(
                jax.random.fold_in(key, i), leaf.shape, jnp.float32
            )
            for i, leaf in enumerate(leaves)
        ],
    )
    for i, (grey, strength) in enumerate(_levels(config)):
        cnn = params["frontend"][f"cnns_{i}"]
        for j in range(len(config.filters) - 1):
            cnn[f"conv_{j}"]["kernel"] *= np.sqrt(2.0)
        first = cnn["conv_0"]
        first["kernel"] /= strength
        first["bias"] -= grey * jnp.sum(first["kernel"], axis=(0, 1, 2))
        _agree(
            params["marginal_encoder"][f"encoders_{i}"],
            params["joint_encoder"][f"encoders_{i}"],
            config,
        )
    return params


def begin_from(fresh: Any, trained: Any, source: str) -> dict[str, Any]:
    """Weights to start from: trained ones where they fit, else fresh ones.

    The frontend is taken over, and the encoders if both fit: one that was trained and a
    fresh one would be unrelated functions, which is the saddle again. Mixtures can start
    from a single Gaussian, of which each component is a copy, a little apart: so PIM-5
    goes on from PIM-1, and training on other videos from shipped weights.

    Args:
      fresh: from `init_params`.
      trained: parameters of `checkpoints.read`, with or without the joint encoder.
      source: names them in errors.

    Raises:
      ValueError: the frontend has other shapes.
    """
    if not _same_shapes(fresh["frontend"], trained["frontend"]):
        raise ValueError(
            f"{source}: its frontend is another than that of config.model (frontend, "
            "num_scales, steerable_order, filters); training cannot start from it"
        )
    taken = {"frontend": trained["frontend"]}
    joint = trained.get("joint_encoder")
    if joint is not None and _same_shapes(fresh["joint_encoder"], joint):
        marginal, own = trained["marginal_encoder"], fresh["marginal_encoder"]
        if not _same_shapes(own, marginal):
            marginal = _as_mixtures(own, marginal)
        if marginal is not None:
            taken |= {"joint_encoder": joint, "marginal_encoder": marginal}
    return {**fresh, **taken}


def _as_mixtures(fresh: Any, single: Any) -> Any:
    """Encoders of a Gaussian at each position as those of mixtures; None if these are not.

    Args:
      fresh: random encoders of mixtures.
      single: trained ones.
    """
    found = {}
    for level, layers in single.items():
        found[level] = dict(fresh[level])
        if set(layers) != {"base_0", "base_1"}:
            return None
        for i in range(2):
            own, one = fresh[level][f"base_{i}"], layers[f"base_{i}"]
            count, rest = divmod(own["bias"].size, one["bias"].size)
            if rest or len(own["kernel"]) != len(one["kernel"]) * (count if i else 1):
                return None
            kernel = jnp.kron(_blocks(i, count), one["kernel"])
            found[level][f"base_{i}"] = {
                "kernel": kernel + _APART * own["kernel"],
                "bias": jnp.tile(one["bias"], count),
            }
    return found


def _blocks(layer: int, components: int) -> np.ndarray:
    """The first layer feeds all components, each later one its own component."""
    return np.eye(components) if layer else np.ones((1, components))


def _same_shapes(a: Any, b: Any) -> bool:
    shapes_a, shapes_b = (
        jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (a, b)
    )
    return bool(shapes_a == shapes_b)


def _agree(
    marginal: dict[str, Any], joint: dict[str, Any], config: ModelConfig
) -> None:
    """Makes the means of q(z|x) and of p(z|x,y) close functions of x, in place."""
    for name, layer in joint.items():
        if "cond" in name:
            layer["kernel"] *= _APART
        if "cond_mul" in name:
            layer["bias"] += 1.0
    for i in range(2):
        shared = joint[f"base_{i}"]
        shared["kernel"] *= np.sqrt(2.0)
        own, blocks = marginal[f"base_{i}"], _blocks(i, config.components)
        own["kernel"] = jnp.kron(blocks, shared["kernel"]) + _APART * own["kernel"]
    # Layers that only one of the two has begin as the identity.
    for layer in (joint.get("base_2"), marginal.get("mean_layer")):
        if layer is not None:
            size = len(layer["kernel"])
            layer["kernel"] = (
                jnp.eye(size, dtype=jnp.float32) + _APART * layer["kernel"]
            )


@functools.cache
def _levels(config: ModelConfig) -> tuple[tuple[float, float], ...]:
    """What each level shows of a grey image, and its standard deviation in natural ones.

    For the latter: noise whose amplitude falls as 1 / frequency (Field 1987,
    https://doi.org/10.1364/JOSAA.4.002379).
    """
    size = max(128, config.minimum_size)
    frequencies = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size)] * 2))
    frequencies[0, 0] = np.inf
    white = np.random.RandomState(0).standard_normal((3, size, size))
    noise = np.moveaxis(np.fft.ifft2(np.fft.fft2(white) / frequencies).real, 0, -1)
    noise *= CONTRAST / noise.std()
    image = np.stack([np.full_like(noise, GREY), noise]).astype(np.float32)
    with jax.ensure_compile_time_eval():  # numbers, also where shapes alone are traced
        levels = pyramid(config, jnp.asarray(image))
        # The grey of the middle: zeros beyond the border are no part of it.
        return tuple(
            (float(jnp.median(level[0])), float(jnp.std(level[1]))) for level in levels
        )
