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


# Of the visual-saliency index VSI, as rounded there: L is luminance, M and N opponents.
LMN = np.array(
    [[0.06, 0.63, 0.27], [0.30, 0.04, -0.35], [0.34, -0.60, 0.17]], np.float32
)
# Linear sRGB to XYZ under D65, Y of white 1.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    np.float32,
)
# White of D50, two degrees.
D50 = np.array([0.9642119944211994, 1.0, 0.8251882845188288], np.float32)
_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)


def lmn(image: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Luminance and two opponent channels, in units of the image."""
    return linear_map(image, LMN)


def linear_rgb(image: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Light intensities in [0, 1]: the transfer function of sRGB undone."""
    bright = image > 0.04045
    # As exp and log, several times faster than XLA's power on CPUs.
    base = jnp.where(bright, (image + 0.055) / 1.055, 1.0)
    return jnp.where(bright, jnp.exp(2.4 * jnp.log(base)), image / 12.92)


def lab(image: Float[Array, "*b 3"], white: np.ndarray = D50) -> Float[Array, "*b 3"]:
    """CIE 1976 L* in 0 .. 100, a* and b*.

    Colours are not adapted from the D65 of sRGB to another white, so grey images have a*
    and b* other than 0 with the default, which is that of published VSI code.

    Args:
      image: sRGB in [0, 1].
      white: XYZ of white.
    """
    relative = linear_map(linear_rgb(image), XYZ / white[:, None])
    bright = relative > 0.008856
    root = jnp.exp(jnp.log(jnp.where(bright, relative, 1.0)) / 3)
    response = jnp.where(bright, root, (903.3 * relative + 16) / 116)
    # L* = 116 f - 16; the others are differences.
    return linear_map(response - 16 / 116, _LAB)
