"""SIGTERM as a wish to stop that all processes of a run hear at the same step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """While entered, SIGTERM asks `requested` to answer True instead of killing.

    One process: a flag. Several processes: JAX's preemption service, which listens for
    SIGTERM from `jax.distributed.initialize` on and lets all processes agree on a step,
    whichever of them got the signal.
    """

    def __init__(self) -> None:
        self._received = False
        self._several = jax.process_count() > 1
        self._before: Any = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def __enter__(self) -> Self:
        # Only the main thread may ask for signals.
        main = threading.current_thread() is threading.main_thread()
        if main and not self._several:
            self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; to be called at each step by all processes."""
        if self._several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._received
