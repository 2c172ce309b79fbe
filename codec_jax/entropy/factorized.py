"""The deep factorized prior: a learned distribution for each channel.

The distribution function of a channel is sigmoid(g(x)), with g an increasing network of
one input and one output: h <- softplus(M) h + b, then h + tanh(a) tanh(h) except at the
end. Source: Ballé et al. 2018, https://arxiv.org/abs/1802.01436, appendix 6.1.
"""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from codec_jax import ops
from codec_jax.coding import tables
from codec_jax.entropy import densities

_INITIAL_SCALE = 10.0
# No symbol further than this from zero gets an entry of its own in a table.
_WIDEST = 4096


class Factorized(nn.Module):
    """Distributions of `channels` independent channels.

    Attributes:
      channels: how many.
      filters: hidden widths: (3, 3) in tensorflow-compression 2, (3, 3, 3) in CoDeX and
        tensorflow-compression 1, (3, 3, 3, 3) in CompressAI.
    """

    channels: int
    filters: tuple[int, ...] = (3, 3)

    @nn.compact
    def logits(self, x: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
        """g(x), so that P(X < x) = sigmoid(g(x))."""
        widths = (1, *self.filters, 1)
        scale = _INITIAL_SCALE ** (1 / (len(widths) - 1))
        h = x[..., None]
        for k, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            start = np.log(np.expm1(1 / scale / outputs))
            matrix = self.param(
                f"matrix_{k}",
                nn.initializers.constant(start),
                (self.channels, outputs, inputs),
                jnp.float32,
            )
            bias = self.param(
                f"bias_{k}",
                lambda key, shape: jax.random.uniform(
                    key, shape, jnp.float32, -0.5, 0.5
                ),
                (self.channels, outputs),
            )
            h = jnp.einsum("...ci,coi->...co", h, jax.nn.softplus(matrix))
            h = h + ops.aligned(bias, h)
            if k < len(self.filters):
                factor = self.param(
                    f"factor_{k}",
                    nn.initializers.zeros,
                    (self.channels, outputs),
                    jnp.float32,
                )
                h = h + ops.aligned(jnp.tanh(factor), h) * jnp.tanh(h)
        return h[..., 0]

    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
        """In nats: log P(x - 1/2 < X < x + 1/2); never above zero."""
        return densities.log_logistic_mass(self.logits(x - 0.5), self.logits(x + 0.5))

    def scaled(
        self, x: Float[Array, "*s c"], scale: Array, shift: Array
    ) -> Float[Array, "*s c"]:
        """In nats: log P(x - 1/2 < X < x + 1/2), where scale X + shift has this prior.

        Args:
          x: latents.
          scale: positive, and broadcasts with x.
          shift: likewise.
        """
        lower = self.logits(scale * (x - 0.5) + shift)
        return densities.log_logistic_mass(
            lower, self.logits(scale * (x + 0.5) + shift)
        )


def offset_parameter(module: nn.Module, channels: int) -> Float[Array, " c"]:
    """Creates 'offset': what is added to the integers of each channel, at first 0."""
    return module.param("offset", nn.initializers.zeros, (channels,), jnp.float32)


def folded(
    params: Any, scale: Float[Array, " c"], shift: Float[Array, " c"]
) -> dict[str, Any]:
    """Parameters of the distribution of X, where scale X + shift has that of `params`.

    See `Factorized.scaled`.

    Args:
      params: of a `Factorized`.
      scale: positive.
      shift: of each channel.
    """
    slopes = jax.nn.softplus(params["matrix_0"])
    steeper = slopes * scale[:, None, None]
    # The inverse of softplus.
    matrix = steeper + jnp.log(-jnp.expm1(-steeper))
    bias = params["bias_0"] + slopes[..., 0] * shift[:, None]
    return {**params, "matrix_0": matrix, "bias_0": bias}


def make_tables(
    params: Any,
    prior: Factorized,
    precision: int = tables.LARGEST_PRECISION,
    tail_mass: float = 2.0**-16,
    dither: int = 0,
) -> tables.Tables:
    """One table for each channel: once, after training.

    A table holds the integers between the two tails, and an escape for all others.

    Args:
      params: of `prior`.
      prior: the architecture.
      precision: of the tables, in bits.
      tail_mass: probability of both tails together, at most.
      dither: levels of `ops.dither_offsets`: for each channel a table for each of them,
        of the symbols round(x - offset).

    Raises:
      ValueError: a distribution is so wide that its table would not fit.
    """
    reach = _reach(params, prior, tail_mass)
    levels = ops.dither_offsets(dither)
    symbols = np.arange(-reach, reach + 1, dtype=np.float32)
    shape = (len(symbols), len(levels), prior.channels)
    steps = np.asarray(symbols[:, None] + levels, np.float32)
    grid = jnp.broadcast_to(steps[..., None], shape)
    mass: Any = prior.apply({"params": params}, grid)
    pmf = _columns(np.exp(np.asarray(mass, np.float64)))
    above: Any = prior.apply({"params": params}, grid + 0.5, method=Factorized.logits)
    below: Any = prior.apply({"params": params}, grid - 0.5, method=Factorized.logits)
    least = np.log(tail_mass / 2)
    inside = _columns(
        np.asarray(
            (jax.nn.log_sigmoid(above) >= least) & (jax.nn.log_sigmoid(-below) >= least)
        )
    )
    pmfs, offsets = [], []
    for probabilities, kept in zip(pmf.T, map(np.flatnonzero, inside.T), strict=True):
        # A narrow distribution may have no integer that is in neither tail.
        kept = kept if len(kept) else np.array([np.argmax(probabilities)])
        pmfs.append(probabilities[kept[0] : kept[-1] + 1])
        offsets.append(int(symbols[kept[0]]))
    return tables.from_pmfs(pmfs, offsets, precision)


def _columns(x: np.ndarray) -> np.ndarray:
    """(symbols, levels, channels) -> one column for each table, (symbols, rows)."""
    return x.swapaxes(1, 2).reshape(len(x), -1)


def _reach(params: Any, prior: Factorized, tail_mass: float) -> int:
    """Half the width of a range of integers that holds all channels' tables."""
    reach = 16
    while reach <= _WIDEST:
        ends = jnp.broadcast_to(
            jnp.asarray([[-reach], [reach]], jnp.float32), (2, prior.channels)
        )
        logits: Any = prior.apply({"params": params}, ends, method=Factorized.logits)
        below, above = np.asarray(
            jax.nn.log_sigmoid(jnp.stack([logits[0], -logits[1]]))
        )
        if max(below.max(), above.max()) < np.log(tail_mass / 2):
            return reach
        reach *= 2
    raise ValueError(
        f"a channel of the prior has tails of more than {tail_mass} beyond +-{_WIDEST};"
        " its latents are scaled wrongly, or it has not been trained"
    )
