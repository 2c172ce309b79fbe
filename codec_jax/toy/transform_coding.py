"""Transform coding: y = analysis(x), rounded, coded with a prior; x_hat = synthesis(y_hat).

Linear (LTC) or nonlinear (NTC). Ballé et al. 2021, https://arxiv.org/abs/2007.03034. The
published code learns the sharpness of soft rounding; here it grows by a straight line. And
there the rate is evaluated at r(y_hat), here at y_hat, where the density of z belongs.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from codec_jax import ops
from codec_jax.entropy.factorized import Factorized
from codec_jax.toy.coder import Code, Coder, Cost


class Network(nn.Module):
    """Dense layers with a nonlinearity between them; of no hidden layer, a linear map.

    Attributes:
      widths: of the hidden layers.
      outputs: of the last layer.
    """

    widths: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        """The outputs for every x."""
        for width in self.widths:
            x = nn.softplus(_dense(width)(x))
        return _dense(self.outputs)(x)


def _dense(width: int) -> nn.Dense:
    return nn.Dense(width, kernel_init=nn.initializers.glorot_uniform())


def transform_coder(
    dimensions: int, latents: int, widths: tuple[int, ...], alpha: float
) -> Coder:
    """Coder with a transform each way and a deep factorized prior.

    Args:
      dimensions: of the source.
      latents: of the code.
      widths: of the hidden layers of either transform; () is linear transform coding.
      alpha: sharpness of soft rounding at the end of the training; it grows from 0.
    """
    analysis, synthesis = Network(widths, latents), Network(widths, dimensions)
    prior = Factorized(latents)

    def init(key: PRNGKeyArray) -> Any:
        keys = jax.random.split(key, 3)
        x, y = jnp.zeros((1, dimensions)), jnp.zeros((1, latents))
        return {
            "analysis": analysis.init(keys[0], x)["params"],
            "synthesis": synthesis.init(keys[1], y)["params"],
            "prior": prior.init(keys[2], y)["params"],
        }

    def rate(params: Any, y_hat: Array) -> Array:
        log_mass: Any = prior.apply({"params": params["prior"]}, y_hat)
        return -jnp.sum(log_mass, axis=-1) / np.log(2)

    def decode(params: Any, y_hat: Array) -> Array:
        x_hat: Any = synthesis.apply({"params": params["synthesis"]}, y_hat)
        return x_hat

    def encode(params: Any, x: Array) -> Array:
        y: Any = analysis.apply({"params": params["analysis"]}, x)
        return y

    def train(params: Any, x: Array, key: PRNGKeyArray, progress: Array) -> Cost:
        y = encode(params, x)
        u = jax.random.uniform(key, y.shape, minval=-0.5, maxval=0.5)
        sharpness = alpha * progress
        # The mass around y_hat is the density of what is sent, soft_round(Y) + u: soft
        # rounding moves the ends of each unit interval, and nothing across them.
        y_hat = ops.soft_round_conditional_mean(
            ops.soft_round(y, sharpness) + u, sharpness
        )
        error = jnp.sum((x - decode(params, y_hat)) ** 2, axis=-1)
        return Cost(rate(params, y_hat), error)

    def code(params: Any, x: Array) -> Code:
        y_hat = jnp.round(encode(params, x))
        return Code(y_hat.astype(jnp.int32), rate(params, y_hat), decode(params, y_hat))

    return Coder(init, train, code)
