"""The quantisation cells of coders in the plane, with their code vectors.

As figure 1 of Ballé et al. 2021, https://arxiv.org/abs/2007.03034.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from codec_jax.toy.coder import Coder
from codec_jax.toy.sources import Source

# The plane is shown in [-_REACH, _REACH]^2.
_REACH = 5.0
_SAMPLES = 100_000
SEED = 0


class CodeVectors(NamedTuple):
    """What a decoder answers to the symbols that occur.

    Attributes:
      vectors: (k, d).
      probabilities: (k,), of the symbols among samples.
    """

    vectors: np.ndarray
    probabilities: np.ndarray


def code_vectors(
    coder: Coder, params: Any, source: Source, samples: int = _SAMPLES
) -> CodeVectors:
    """The code vectors that stand for at least one of so many samples."""
    x = source.sample(jax.random.key(SEED), samples)
    code = jax.jit(coder.code)(params, x)
    _, first, counts = np.unique(
        np.asarray(code.symbols), axis=0, return_index=True, return_counts=True
    )
    return CodeVectors(np.asarray(code.reconstruction)[first], counts / samples)


def borders(coder: Coder, params: Any, side: int) -> np.ndarray:
    """Whether a pixel's symbols differ from its neighbour's, right or above.

    Returns: (side - 1, side - 1) bool, the first row at the bottom of the plane.
    """
    ticks = np.linspace(-_REACH, _REACH, side, dtype=np.float32)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    code = jax.jit(coder.code)(params, jnp.asarray(grid))
    symbols = np.asarray(code.symbols).reshape(side, side, -1)
    across = np.any(symbols[:-1, 1:] != symbols[:-1, :-1], axis=-1)
    upward = np.any(symbols[1:, :-1] != symbols[:-1, :-1], axis=-1)
    return across | upward


def figure(
    coders: Mapping[str, tuple[Coder, Any]], source: Source, side: int = 1000
) -> Figure:
    """Cells, code vectors and the density of the source, a panel for each coder.

    Args:
      coders: title -> coder of vectors in the plane, and its parameters.
      source: what they were made for.
      side: of the grid on which borders are looked for.
    """
    drawn = Figure(figsize=(5 * len(coders), 5.2), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, len(coders), squeeze=False)[0]
    for axis, (title, (coder, params)) in zip(axes, coders.items(), strict=True):
        _draw(axis, coder, params, source, side)
        axis.set_title(title)
    return drawn


def pixels(drawn: Figure) -> np.ndarray:
    """A figure made by `figure` as uint8 (h, w, 3)."""
    canvas = drawn.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(axis: Axes, coder: Coder, params: Any, source: Source, side: int) -> None:
    extent = (-_REACH, _REACH, -_REACH, _REACH)
    samples = np.asarray(source.sample(jax.random.key(SEED), _SAMPLES))
    density, _, _ = np.histogram2d(
        samples[:, 0], samples[:, 1], bins=100, range=[[-_REACH, _REACH]] * 2
    )
    axis.imshow(density.T, cmap="Blues", origin="lower", extent=extent, alpha=0.8)
    lines = np.zeros((side - 1, side - 1, 4))
    lines[..., 3] = borders(coder, params, side)
    axis.imshow(lines, origin="lower", extent=extent, interpolation="antialiased")
    found = code_vectors(coder, params, source)
    # Areas as probabilities, but for the rare, which would not be seen.
    areas = np.maximum(4.0, 800 * found.probabilities)
    across, upward = found.vectors.T
    axis.scatter(across, upward, s=areas, color="darkorange", edgecolor="black")
    axis.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
