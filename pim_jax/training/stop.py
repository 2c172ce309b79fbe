"""SIGTERM and Ctrl-C as a wish to stop that all processes hear at the same step."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """While entered, SIGTERM and SIGINT let `requested` answer True instead of killing.

    A second SIGINT is a KeyboardInterrupt, for who does not want to wait for the step.

    One process: a flag. Several processes: JAX's preemption service, which listens for
    SIGTERM from `jax.distributed.initialize` on and lets all processes agree on a step,
    whichever of them got the signal; SIGINT is passed on to it.

    Attributes:
      cause: what asked to stop, for the user.
    """

    def __init__(self) -> None:
        self.cause = "SIGTERM"
        self._received = False
        self._several = jax.process_count() > 1
        self._before: dict[signal.Signals, Any] = {}

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.cause = "Ctrl-C"
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not by print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping after this step; Ctrl-C again stops without saving\n")
        if self._several:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._received = True

    def __enter__(self) -> "StopSignal":
        # Only the main thread may ask for signals.
        if threading.current_thread() is not threading.main_thread():
            return self
        if not self._several:
            self._listen(signal.SIGTERM, self._terminate)
        # What a shell starts in the background ignores Ctrl-C.
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._listen(signal.SIGINT, self._interrupt)
        return self

    def _listen(self, number: signal.Signals, handler: Any) -> None:
        self._before[number] = signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            if before is not None:  # None: not Python's, cannot be put back.
                signal.signal(number, before)

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; to be called at each step by all processes."""
        if self._several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._received
