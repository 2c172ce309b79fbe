"""Compiled programs of a codec's networks.

There is one for each network and shape of window. Weights are arguments: as constants
they would be compiled anew for each codec, and folded for minutes.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np


@functools.partial(jax.jit, static_argnums=(0, 1))
def call(module: nn.Module, method: str, params: Any, *arguments: Any) -> Any:
    """`module.apply({"params": params}, *arguments, method=method)`, compiled.

    Args:
      module: networks; equal ones share programs.
      method: its name.
      params: nested dictionaries; those of other modules are left out.
      arguments: arrays, or pytrees of them.
    """
    return module.apply({"params": params}, *arguments, method=method)


def on_one(module: nn.Module, method: str, params: Any, *arguments: Any) -> Any:
    """The result for a batch of one, as NumPy arrays without the axis of the batch."""
    found = call(module, method, params, *arguments)
    return jax.tree.map(lambda array: np.asarray(array)[0], found)
