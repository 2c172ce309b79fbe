"""Pictures that show what a model sees, for TensorBoard and the report."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pim_jax.pim.model import ModelConfig, Pim


def frame_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The pairs side by side, x above y: uint8 (2 h, n w, 3)."""
    return np.concatenate([_row(x), _row(y)])


def activations(params: Any, config: ModelConfig, images: np.ndarray) -> np.ndarray:
    """A column per image; below it the features of every level, coarsest first.

    The first three feature channels are shown as colours, each level stretched to its
    own range and enlarged to the size of the image.

    Args:
      params: weights of `config`.
      images: uint8 (n, h, w, 3).
    Returns: uint8 ((levels + 1) h, n w, 3).
    """
    levels: Any = jax.jit(
        lambda params, x: Pim(config).apply({"params": params}, x, method=Pim.features)
    )(params, jnp.asarray(images, jnp.float32) / 255)
    rows = [_row(images)]
    for level in levels:
        level = np.asarray(level, np.float32)[..., :3]
        low, high = level.min(), level.max()
        scaled = (level - low) / max(float(high - low), 1e-12) * 255
        rows.append(_row(_enlarge(scaled.astype(np.uint8), images.shape[1:3])))
    return np.concatenate(rows)


def _row(images: np.ndarray) -> np.ndarray:
    return np.concatenate(list(images), axis=1)


def _enlarge(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    rows, columns = (
        np.arange(wanted) * found // wanted
        for wanted, found in zip(size, images.shape[1:3], strict=True)
    )
    images = images[:, rows][:, :, columns]
    return (
        np.broadcast_to(images[..., :1], (*images.shape[:3], 3))
        if (images.shape[-1] < 3)
        else images
    )
