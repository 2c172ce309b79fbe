"""Where the commands `codec-jax` and `pim-jax` start.

Loading their packages takes a second or two. This module is loaded in no time, so that
Ctrl-C ends in one line already then.
"""

import importlib
import os
import signal
import sys
from types import FrameType


def codec() -> int:
    """The command `codec-jax`; returns its exit status."""
    return _start("codec-jax", "codec_jax.cli")


def pim() -> int:
    """The command `pim-jax`; returns its exit status."""
    return _start("pim-jax", "pim_jax.cli")


def _start(program: str, module: str) -> int:
    # XLA's remarks on processors and libraries come from C++, and are for its developers.
    # It reads this variable when JAX is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        sys.stderr.write(f"{program}: interrupted\n")
        sys.stderr.flush()
        # An exception could end up inside the start of a library, which makes another of
        # it; and there is nothing to clean up yet.
        os._exit(130)

    # A shell's background job ignores Ctrl-C.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    main = importlib.import_module(module).start
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    return main()
