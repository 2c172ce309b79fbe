"""What a toy coder is: parameters, a loss to train them by, and the code they make."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PRNGKeyArray


class Cost(NamedTuple):
    """Of each vector.

    Attributes:
      rate: bits for the vector, not per dimension.
      error: squared error, summed over the dimensions.
    """

    rate: Float[Array, " n"]
    error: Float[Array, " n"]


class Code(NamedTuple):
    """Vectors coded as integers, and what a decoder makes of these.

    Attributes:
      symbols: what is sent.
      rate: bits: -log2 of the symbols' probability.
      reconstruction: decoded vectors.
    """

    symbols: Int[Array, "n k"]
    rate: Float[Array, " n"]
    reconstruction: Float[Array, "n d"]


class Coder(NamedTuple):
    """A family of coders, as pure functions of their parameters.

    Attributes:
      init: key -> parameters.
      train: (parameters, x, key, progress) -> what a decoder would see and pay, with
        gradients; `progress` from 0 to 1 is where in the training this is.
      code: (parameters, x) -> code, with hard decisions.
    """

    init: Callable[[PRNGKeyArray], Any]
    train: Callable[[Any, Float[Array, "n d"], PRNGKeyArray, Array], Cost]
    code: Callable[[Any, Float[Array, "n d"]], Code]
