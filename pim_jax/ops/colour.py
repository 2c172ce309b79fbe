"""Colour spaces that metrics are defined in. Inputs are sRGB as stored, in [0, 1]."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Luma of Rec. ITU-R BT.601, and with it the axes I and Q of NTSC, as rounded in the
# published code of FSIM, GMSD and others.
YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
    np.float32,
)


def linear_map(image: Float[Array, "*b 3"], matrix: np.ndarray) -> Float[Array, "*b k"]:
    """Every pixel times a matrix (k, 3), one row for each output channel."""
    return jnp.einsum(
        "...c,kc->...k", image, matrix, precision=jax.lax.Precision.HIGHEST
    )


def luma(image: Float[Array, "*b 3"]) -> Float[Array, "*b 1"]:
    """Rec. 601 luma in [0, 1], 0.299 R + 0.587 G + 0.114 B."""
    return linear_map(image, YIQ[:1])


def yiq(image: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Luma in [0, 1] and the two chroma axes of NTSC."""
    return linear_map(image, YIQ)
