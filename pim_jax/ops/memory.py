"""Whether a computation fits into memory, asked before it starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

_MEMINFO = Path("/proc/meminfo")  # of Linux; elsewhere nothing is asked


def available() -> int | None:
    """Bytes of main memory that programs may still take; None where that is unknown."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return 1024 * int(amount.split()[0])
    return None


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments), compiled as one program, if its memory is there.

    Only main memory is looked at, so only on CPUs. What the arguments take is taken
    already, and does not count.

    Args:
      function: can be compiled by `jax.jit`.
      arguments: pytrees of arrays.

    Raises:
      ValueError: the program takes more memory than there is.
    """
    program = jax.jit(function).lower(*arguments).compile()
    sizes, free = program.memory_analysis(), available()
    if jax.default_backend() == "cpu" and sizes is not None and free is not None:
        needed = sizes.temp_size_in_bytes + sizes.output_size_in_bytes
        if needed > free:
            raise ValueError(
                f"this takes {needed / 1e9:.1f} GB of memory beside the images, and "
                f"{free / 1e9:.1f} GB are free; use smaller images, or parts of them"
            )
    return program(*arguments)
