"""The one loop: restore, compile, step, log, evaluate, checkpoint, stop.

Step n is the n-th update; the first is step 1. Update n draws its randomness from
`fold_in(key(seed), n - 1)` and its batch from the iterator started at n - 1, so a run that
was stopped and continued computes exactly what an uninterrupted one does.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pim_jax.training import (
    checkpoint,
    devices,
    optimizer,
    page,
    report,
    run_config,
)
from pim_jax.training.stop import StopSignal
from pim_jax.training.task import Scalars, Task, check_ema_decay

# Steps the host may be ahead of the device; bounds the batches that wait there.
IN_FLIGHT = 8


class _Window:
    """The scalars since the last log: on the device until somebody looks."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Scalars]] = []
        self._fetched: list[dict[str, float]] = []

    def add(self, step: int, scalars: Scalars) -> None:
        self._waiting.append((step, scalars))
        if len(self._waiting) > IN_FLIGHT:
            # Waits, but transfers nothing.
            jax.block_until_ready(self._waiting[-1 - IN_FLIGHT][1]["loss"])

    def settle(self) -> None:
        """Fetches what is waiting and raises FloatingPointError at the first bad step."""
        waiting, self._waiting = self._waiting, []
        for (step, _), scalars in zip(
            waiting, jax.device_get([scalars for _, scalars in waiting]), strict=True
        ):
            # Under pmap there is one equal value for each local device.
            values = {name: float(np.ravel(v)[0]) for name, v in scalars.items()}
            for name in ("loss", "gradient_norm"):
                if not np.isfinite(values.get(name, 0.0)):
                    raise FloatingPointError(
                        f"{name} is {values[name]} at step {step}; all scalars of this"
                        f" step: {values}. Nothing was saved after the last checkpoint;"
                        " --config.debug_nans=True finds the operation"
                    )
            self._fetched.append(values)

    def mean(self) -> dict[str, float]:
        """The means over the settled steps; empties the window."""
        fetched, self._fetched = self._fetched, []
        return {name: float(np.mean([f[name] for f in fetched])) for name in fetched[0]}


def _begin(task: Task, config: Any, opened: ocp.CheckpointManager) -> tuple[int, Any]:
    """(updates done, host state): the newest checkpoint, or a fresh state."""
    key = jax.random.key(config.seed)
    restored = checkpoint.restore(opened, jax.eval_shape(task.init, key))
    if restored is None:
        return 0, devices.fetch(task.init(key))
    step = restored[0]
    if step > config.steps:
        raise ValueError(
            f"{opened.directory} holds a checkpoint of step {step}, after"
            f" config.steps = {config.steps}; raise it or use another workdir"
        )
    return restored


def _evaluate(task: Task, state: Any) -> dict[str, float]:
    """All evaluations as {'evaluation/scalar': value}."""
    return {
        f"{name}/{key}": float(value)
        for name, evaluation in task.evaluations.items()
        for key, value in evaluation(state).items()
    }


def _next(batches: Iterator[dict[str, np.ndarray]], step: int) -> dict[str, np.ndarray]:
    try:
        return next(batches)
    except StopIteration:
        raise ValueError(
            f"the task's batches ended before step {step}, expected one for each step"
        ) from None


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def check_settings(config: Any) -> None:
    """Checks what the runtime itself reads of a config.

    `train` does so too, but a task may have read data for minutes by then.

    Raises:
      ValueError: a setting out of range, or one that does not go with another.
    """
    for name in ("steps", "log_every"):
        if config[name] < 1:
            raise ValueError(f"{name} is {config[name]}, expected >= 1")
    for name in ("evaluate_every", "checkpoint_every"):
        if config[name] < 0:
            raise ValueError(
                f"{name} is {config[name]}, expected >= 1, or 0 for only at the end"
            )
    checkpoint.check_keep(config.keep_checkpoints)
    devices.place(config.compile, config.devices)
    if "ema_decay" in config:
        check_ema_decay(config.ema_decay)
    # Tasks may have another way to describe their optimizer.
    if "schedule" in config.get("optimizer", {}):
        optimizer.make(config.optimizer, config.steps)


class _Run:
    """One call of `train`: what its parts share."""

    def __init__(
        self,
        task: Task,
        config: Any,
        workdir: Path,
        opened: ocp.CheckpointManager,
        out: report.Report | None,
    ) -> None:
        self.task, self.config, self.workdir = task, config, workdir
        self.opened, self.out = opened, out
        self.placement = devices.place(config.compile, config.devices)
        self._page: tuple[int, Path] | None = None

    def steps(self, start: int, state: Any, stop: StopSignal) -> tuple[int, Any]:
        """Runs from update `start` on; returns where it stopped, and the device state."""
        config, window = self.config, _Window()
        # The check for NaN runs the operations again, which needs their inputs.
        advance = self.placement.compile(
            self.task.update, config.seed, not config.debug_nans
        )
        batches = self.task.batches(jax.process_index(), jax.process_count(), start)
        for step in range(start + 1, config.steps + 1):
            batch = self.placement.put_batch(_next(batches, step))
            state, scalars = advance(state, batch)
            window.add(step, scalars)
            self._tick(step)
            if step == start + 1:
                jax.block_until_ready(scalars)
                self._first_done(step)
            stopping = stop.requested(step)
            log = stopping or _due(step, config.log_every, config.steps)
            evaluate = _due(step, config.evaluate_every, config.steps)
            save = stopping or _due(step, config.checkpoint_every, config.steps)
            if log or evaluate or save:
                window.settle()
            if log:
                self._log(step, window.mean())
            if evaluate and not stopping:
                self.evaluate(step, state)
            if save:
                self._save(step, state)
            if stopping:
                return step, state
        return config.steps, state

    def evaluate(self, step: int, state: Any) -> None:
        """All processes compute, so that none waits in a collective; one writes."""
        local = self.placement.local(state)
        scalars = _evaluate(self.task, local)
        if self.out is None:
            return
        if scalars:
            self.out.evaluation(step, scalars)
        pictures = self.draw(local)
        self.out.pictures(step, pictures)
        self._write_page(step, pictures)
        self.out.resume_clock(step)

    def draw(self, local: Any) -> dict[str, np.ndarray]:
        """The task's pictures of a state on one device."""
        return {name: np.asarray(f(local)) for name, f in self.task.pictures.items()}

    def finish(self, step: int, local: Any, cause: str) -> None:
        """Says how to go on if the run is not at its end, and where the page is."""
        if self.out is None:
            return
        if step < self.config.steps:
            self.out.say(
                f"stopped by {cause} at step {step} of {self.config.steps}, saved in"
                f" {self.workdir}; the same command goes on from there"
            )
        if self._page is None or self._page[0] < step:
            self._write_page(step, self.draw(local))
        if self._page is not None:
            self.out.say(f"wrote {self._page[1]}")

    def _write_page(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        path = page.write(
            self.workdir,
            report.read_log(self.workdir),
            pictures,
            run_config.resolved(self.config),
        )
        self._page = (step, path)

    def _first_done(self, step: int) -> None:
        if self.out is not None:
            self.out.first_step(step)

    def _tick(self, step: int) -> None:
        if self.out is not None:
            self.out.tick(step)

    def _log(self, step: int, scalars: Mapping[str, float]) -> None:
        if self.out is not None:
            self.out.training(step, scalars)

    def _save(self, step: int, state: Any) -> None:
        checkpoint.save(self.opened, step, devices.fetch(self.placement.local(state)))
        if self.out is not None:
            self.out.resume_clock(step)


def train(task: Task, config: Any, workdir: str | Path) -> Any:
    """Trains `task` up to `config.steps` updates, from the newest checkpoint if any.

    On SIGTERM or Ctrl-C the run saves after the current update and returns (exit status
    0: nothing failed, and the same command goes on). `report.html` is written at each
    evaluation and at the end, whatever ended it. In a run of several processes all call
    this with the same arguments, `workdir` is shared, and only process 0 writes.

    Args:
      task: what to train.
      config: `ml_collections` config with seed, steps, log_every (scalars are means over
        this many steps), evaluate_every and checkpoint_every (0: only at the end),
        keep_checkpoints, compile ('jit' or 'pmap'), devices (0: all) and debug_nans.
      workdir: receives config.json, checkpoints, log.jsonl, tensorboard, report.html.

    Returns:
      The last state, its leaves on one local device.

    Raises:
      ValueError: a setting out of range; checkpoints of another architecture or of another
        model config; batches that do not divide over the devices.
      FloatingPointError: a loss or gradient is not finite; names the step. Such a state is
        never saved.
    """
    check_settings(config)
    workdir = Path(workdir).expanduser()
    with ExitStack() as stack:
        stack.enter_context(jax.debug_nans(bool(config.debug_nans)))
        opened = stack.enter_context(
            checkpoint.manager(workdir, config.keep_checkpoints)
        )
        start, host_state = _begin(task, config, opened)
        if start:
            run_config.check(workdir, config, task.follows_length)
        out = None
        if jax.process_index() == 0:
            run_config.write(workdir, config)
            out = stack.enter_context(report.Report(workdir, start, config.steps))
            if start:
                out.say(f"goes on from step {start} in {workdir}")
        stop = stack.enter_context(StopSignal())
        run = _Run(task, config, workdir, opened, out)
        state = run.placement.put_state(host_state)
        if start == 0:
            run.evaluate(0, state)
        step, state = run.steps(start, state, stop)
        local = run.placement.local(state)
        run.finish(step, local, stop.cause)
        return local
