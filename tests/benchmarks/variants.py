"""Other ways to compute what PIM spends its time on, with their speed and their error.

    python -m tests.benchmarks.variants                      # all, forward and backward
    python -m tests.benchmarks.variants --only=divergence

The library has its own form of the network and the plain divergence. Times are for
one level's network (5x5, 3-64-64-64-3) on two images, and for the divergence of mixtures
of five at as many positions as one level of a 256x256 image has.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import rich
from jax import lax
from jaxtyping import Array
from rich.table import Table

from pim_jax import distributions
from pim_jax.distributions import Mixture
from pim_jax.ops.fast_cpu import convolution
from pim_jax.pim.model import Cnn, ModelConfig
from tests.benchmarks import timing

Convolution = Callable[[Array, Array], Array]


def same(function: Callable[..., Array]) -> Convolution:
    """A convolution of the library with its padding."""
    return functools.partial(function, padding="SAME")


direct = same(convolution.direct)


def channels_first(image: Array, kernel: Array) -> Array:
    """The same in NCHW; transposes between layers are for XLA to cancel."""
    found = lax.conv_general_dilated(
        jnp.moveaxis(image, -1, 1),
        jnp.transpose(kernel, (3, 2, 0, 1)),
        (1, 1),
        "SAME",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return jnp.moveaxis(found, 1, -1)


def low_precision(image: Array, kernel: Array) -> Array:
    """bfloat16 factors."""
    found = direct(image.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    return found.astype(jnp.float32)


def blocks(image: Array, kernel: Array) -> Array:
    """Blocks of 2x2 pixels as channels: 3x3 taps, 1.44 times the products."""
    n, h, w, c = image.shape
    outputs = kernel.shape[-1]
    offset = (
        2 * (np.arange(3)[:, None, None] - 1)
        + np.arange(2)[None, :, None]
        - np.arange(2)[None, None, :]
        + 2
    )
    taps = jnp.asarray(offset[..., None] == np.arange(5), jnp.float32)
    kernel = jnp.einsum("xipk,yjql,klco->xyijcpqo", taps, taps, kernel)
    image = image.reshape(n, h // 2, 2, w // 2, 2, c).swapaxes(2, 3)
    found = direct(
        image.reshape(n, h // 2, w // 2, 4 * c), kernel.reshape(3, 3, 4 * c, -1)
    )
    found = found.reshape(n, h // 2, w // 2, 2, 2, outputs).swapaxes(2, 3)
    return found.reshape(n, h, w, outputs)


def unrolled(function: Convolution) -> Callable[[Any, Array], Array]:
    """A level's network with this convolution; (params of `Cnn`, image) -> features."""

    def network(params: Any, image: Array) -> Array:
        for i in range(len(params)):
            layer = params[f"conv_{i}"]
            image = function(image, layer["kernel"]) + layer["bias"][None, None, None]
            image = image if i == len(params) - 1 else nn.relu(image)
        return image

    return network


CONVOLUTIONS = {
    "plain": direct,
    "channels first": channels_first,
    "2x2 blocks": blocks,
    "bfloat16": low_precision,
    "the library's": same(convolution.convolve),
}


def difference(p: Mixture, q: Mixture, noise: Array) -> Array:
    """The library's."""
    return distributions.symmetrised_kl(p, q, noise).difference


def sums_apart(p: Mixture, q: Mixture, noise: Array) -> Array:
    """The same with one table of squared distances for each pair of mixtures."""
    noise = jnp.stack([noise, -noise])

    def side(p: Mixture, q: Mixture) -> Array:
        def log_density(log_weights: Array, loc: Array) -> Array:
            # What does not depend on the component leaves the ratio.
            shift = jnp.sum(loc * noise[..., None, :], axis=-1)
            apart = p.loc[..., :, None, :] - loc[..., None, :, :]
            terms = log_weights[..., None, :] - 0.5 * jnp.sum(jnp.square(apart), -1)
            return jax.nn.logsumexp(terms + shift[..., None, :], axis=-1)

        log_p, log_q = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
        ratio = log_density(log_p, p.loc) - log_density(log_q, q.loc)
        return jnp.sum(jnp.exp(log_p) * jnp.mean(ratio, axis=0), axis=-1)

    return side(p, q) + side(q, p)


DIVERGENCES = {"plain": difference, "sums apart": sums_apart}


def mixtures(positions: int) -> tuple[Mixture, Mixture, Array]:
    """Two mixtures of five in ten dimensions that differ a little, and noise."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return jnp.asarray(random.standard_normal((1, positions, *shape)), jnp.float32)

    p = Mixture(draw(5), jnp.abs(draw(5, 10)))
    q = Mixture(p.logits + 0.1 * draw(5), p.loc + 0.1 * draw(5, 10))
    return p, q, draw(10)


def compared(
    functions: dict[str, Callable[..., Array]], arguments: Any, seconds: float
) -> Table:
    """Times forward, and forward with backward to the first two arguments."""
    columns = ("", "ms", "× plain", "ms with gradient", "× plain", "error")
    shown = Table(*columns)
    taken, values = [], {}
    for backward in (False, True):
        calls: dict[str, timing.Call] = {}
        for name, function in functions.items():
            value = function if not backward else _gradient(function)
            calls[name] = functools.partial(jax.jit(value), *arguments)
            if not backward:
                values[name] = np.asarray(calls[name]())
        taken.append(timing.in_turn(calls, seconds))
    scale = np.abs(values["plain"]).max()
    for name in functions:
        cells = [name]
        for found in taken:
            relative = timing.ratio(found[name], found["plain"])
            cells += [
                f"{1e3 * timing.summary(found[name]).median:.0f}",
                f"{relative.median:.2f} ({relative.lower:.2f} .. {relative.upper:.2f})",
            ]
        error = np.abs(values[name] - values["plain"]).max() / scale
        shown.add_row(*cells, f"{error:.1e}")
    return shown


def _gradient(function: Callable[..., Array]) -> Callable[..., Any]:
    def energy(*arguments: Any) -> Array:
        return jnp.sum(jnp.square(function(*arguments)))

    return jax.grad(energy, argnums=(0, 1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Speed of other ways to compute PIM.")
    parser.add_argument("--only", default="", choices=["", "network", "divergence"])
    parser.add_argument("--seconds", type=float, default=20, help="for each group")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    given = parser.parse_args()
    rich.print(f"jax {jax.__version__}, {jax.devices()[0]}")
    if given.only != "divergence":
        image = jnp.zeros((2, given.size, given.size, 3)) + 0.5
        image += 0.1 * jax.random.normal(jax.random.key(1), image.shape)
        params = Cnn(ModelConfig()).init(jax.random.key(0), image[:, :8, :8])["params"]
        networks = {name: unrolled(form) for name, form in CONVOLUTIONS.items()}
        rich.print(compared(networks, (params, image), given.seconds))
    if given.only != "network":
        found = mixtures(4 * given.size**2)
        rich.print(compared(DIVERGENCES, found, given.seconds))


if __name__ == "__main__":
    main()
