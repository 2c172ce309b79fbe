"""Toy sources: what to code, with the density where there is one.

Source: the definitions of tensorflow-compression's `toy_sources` (Ballé et al. 2021,
https://arxiv.org/abs/2007.03034, section III), written anew.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

# Functions of time are seen at so many points of [0, 1].
POINTS = 1024


class Source(NamedTuple):
    """A distribution of vectors.

    Attributes:
      dimensions: d.
      sample: (key, n) -> (n, d) float32, independent vectors.
      log_density: (n, d) -> (n,) in nats; None where the vectors fill no volume.
    """

    dimensions: int
    sample: Callable[[PRNGKeyArray, int], Float[Array, "n d"]]
    log_density: Callable[[Float[Array, "n d"]], Float[Array, " n"]] | None = None


# The banana: a normal distribution with these standard deviations, bent along a parabola,
# turned and shifted. None of the three steps changes a volume.
_SCALES = np.array([3.0, 0.5], np.float32)
_BEND = 0.1
_ANGLE = np.deg2rad(240.0)
_TURN = np.array(
    [[np.cos(_ANGLE), -np.sin(_ANGLE)], [np.sin(_ANGLE), np.cos(_ANGLE)]], np.float32
)
_SHIFT = np.array([-1.0, -1.0], np.float32)


def _sample_banana(key: PRNGKeyArray, n: int) -> Array:
    z = _SCALES[None] * jax.random.normal(key, (n, 2))
    bent = jnp.stack([z[:, 0], z[:, 1] - _BEND * z[:, 0] ** 2], axis=-1)
    # Rows times the matrix: its transpose times columns, a turn by -240 degrees.
    return bent @ _TURN + _SHIFT[None]


def _log_density_banana(x: Array) -> Array:
    bent = (x - _SHIFT[None]) @ _TURN.T
    z = jnp.stack([bent[:, 0], bent[:, 1] + _BEND * bent[:, 0] ** 2], axis=-1)
    normal = jax.scipy.stats.norm.logpdf(z, scale=_SCALES[None])
    return jnp.sum(normal, axis=-1)


def _log_density_laplace(x: Array) -> Array:
    return jax.scipy.stats.laplace.logpdf(x[:, 0])


def _times(points: int) -> Array:
    return jnp.linspace(0, 1, points)[None]


def sawbridge(points: int = POINTS) -> Source:
    """X(t) = t - 1[Z < t] with Z ~ U(0, 1): falls by one, once, at a random time.

    A curve in function space, so a single number tells all; but no linear transform finds
    it. Source: Wagner & Ballé 2021, https://arxiv.org/abs/2011.05065.
    """

    def sample(key: PRNGKeyArray, n: int) -> Array:
        t = _times(points)
        return t - (jax.random.uniform(key, (n, 1)) < t)

    return Source(points, sample)


def ramp(points: int = POINTS) -> Source:
    """X(t) = ((t + V) mod 1) - 1/2 with V ~ U(0, 1): a sawtooth of random phase."""

    def sample(key: PRNGKeyArray, n: int) -> Array:
        return (_times(points) + jax.random.uniform(key, (n, 1))) % 1 - 0.5

    return Source(points, sample)


def sinusoid(points: int = POINTS) -> Source:
    """X(t) = sin(2 pi (t + V)) with V ~ U(0, 1): a circle in a plane."""

    def sample(key: PRNGKeyArray, n: int) -> Array:
        phase = jax.random.uniform(key, (n, 1))
        return jnp.sin(2 * np.pi * (_times(points) + phase))

    return Source(points, sample)


def sphere(dimensions: int = 3, width: float = 0.0) -> Source:
    """Uniform on the unit sphere of R^dimensions.

    Args:
      dimensions: of the space, not of the surface.
      width: the radius is uniform in 1 +- width / 2; 0 is the sphere itself.
    """

    def sample(key: PRNGKeyArray, n: int) -> Array:
        direction_key, radius_key = jax.random.split(key)
        x = jax.random.normal(direction_key, (n, dimensions))
        x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        radius = jax.random.uniform(radius_key, (n, 1), minval=-0.5, maxval=0.5)
        return x * (1 + width * radius)

    return Source(dimensions, sample)


SOURCES = {
    "banana": Source(2, _sample_banana, _log_density_banana),
    "laplace": Source(
        1, lambda key, n: jax.random.laplace(key, (n, 1)), _log_density_laplace
    ),
    "sawbridge": sawbridge(),
    "sphere": sphere(),
    "ramp": ramp(),
    "sinusoid": sinusoid(),
}


def sawbridge_optimum(lmbda: float) -> tuple[float, float]:
    """(rate, distortion): the least rate + lmbda * distortion of any coder of one bridge.

    The best coder tells in which of n equal intervals the fall is: log2 n bits, and a mean
    squared error of 1 / (6 n) averaged over time. (A fall at probability q before t leaves
    an error of q (1 - q) at t.) Source: Wagner & Ballé 2021, theorem 1; entropy in bits.
    """
    n = np.arange(1, 2 + int(np.ceil(lmbda)))
    rate, distortion = np.log2(n), 1 / (6 * n)
    best = np.argmin(rate + lmbda * distortion)
    return float(rate[best]), float(distortion[best])
