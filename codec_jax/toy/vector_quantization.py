"""Vector quantisation with entropy constraint (ECVQ), trained by gradient descent.

Chou, Lookabaugh & Gray 1989, https://doi.org/10.1109/29.17498; by gradients: Ballé et al.
2021, https://arxiv.org/abs/2007.03034, section III (VECVQ).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from codec_jax.toy.coder import Code, Coder, Cost
from codec_jax.toy.sources import Source

Params = dict[str, Array]


def ecvq(source: Source, codewords: int, lmbda: float) -> Coder:
    """A list of vectors, each with its probability; the cheapest one stands for x.

    A vector costs rate + lmbda * squared error. A piecewise constant choice needs no
    stand-in for its gradient. Vectors that are seldom chosen become improbable, hence
    dear, and die out; so the list starts longer than it ends.

    Args:
      source: the first vectors are samples of it.
      codewords: how many there are in the beginning.
      lmbda: the price of an error, for its sum over the dimensions.
    """

    def init(key: PRNGKeyArray) -> Params:
        vectors_key, logits_key = jax.random.split(key)
        return {
            "vectors": source.sample(vectors_key, codewords),
            "logits": 0.1 * jax.random.normal(logits_key, (codewords,)),
        }

    def train(params: Params, x: Array, key: Any, progress: Array) -> Cost:
        del key, progress
        index = choose(params, x, lmbda)
        vectors = params["vectors"][index]
        return Cost(rates(params)[index], jnp.sum((x - vectors) ** 2, axis=-1))

    def code(params: Params, x: Array) -> Code:
        index = choose(params, x, lmbda)
        return Code(index[:, None], rates(params)[index], params["vectors"][index])

    return Coder(init, train, code)


def rates(params: Params) -> Float[Array, " k"]:
    """Bits for each codeword."""
    return -jax.nn.log_softmax(params["logits"]) / np.log(2)


def choose(params: Params, x: Float[Array, "n d"], lmbda: float) -> Int[Array, " n"]:
    """The number of the cheapest codeword for each x."""
    vectors = params["vectors"]
    # |x - c|^2 without the |x|^2 that all codewords share.
    errors = jnp.sum(vectors**2, axis=-1)[None] - 2 * x @ vectors.T
    costs = rates(params)[None] + lmbda * errors
    return jnp.argmin(jax.lax.stop_gradient(costs), axis=-1)
