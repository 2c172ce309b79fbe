"""What a run tells: progress on screen, TensorBoard, and `log.jsonl`.

A line of `log.jsonl` is {"step", "kind": "train" or "eval", "seconds", "scalars": {...}}:
the number of updates done, the training time so far over all restarts, and floats (null
for what is not finite). `report.html` is drawn from it, see `page`.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rich.console
import rich.progress
import tensorboardX

from pim_jax.io import files

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_SHOWN_TERMS = 4  # what fits in one line of a terminal


def read_log(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `log.jsonl`, oldest first; [] where there is none.

    A last line that was cut off when the run was killed is left out.
    """
    path = workdir / LOG_FILE
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def truncate_log(workdir: Path, step: int) -> float:
    """Drops what was logged after `step`, which a resumed run will log again.

    Returns: the training seconds of the last line that stays, 0.0 if none does.
    """
    kept = [record for record in read_log(workdir) if record["step"] <= step]
    path = workdir / LOG_FILE
    if path.exists():
        text = "".join(json.dumps(record) + "\n" for record in kept)
        files.replace_file(path, text.encode())
    return float(kept[-1]["seconds"]) if kept else 0.0


def _jsonable(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _terms(scalars: Mapping[str, float], limit: int | None = None) -> str:
    """'loss 1.234 · name 0.5': the loss first, then the others in their order."""
    names = sorted(scalars, key=lambda name: name != "loss")[:limit]
    return " · ".join(f"{name} {scalars[name]:.4g}" for name in names)


class Report:
    """Writes one run's reports; a context manager. Only process 0 should have one.

    On a terminal there is a progress bar (steps/s, loss terms, time left); elsewhere, for
    example in a file of a batch system, one line for each log step.
    """

    def __init__(
        self,
        workdir: Path,
        start_step: int,
        steps: int,
        console: rich.console.Console | None = None,
    ) -> None:
        """Continues the reports in `workdir` after `start_step` of `steps` updates."""
        self._console = console or rich.console.Console(stderr=True, soft_wrap=True)
        self._steps = steps
        self._previous = (start_step, time.monotonic())
        self._begin = time.monotonic() - truncate_log(workdir, start_step)
        self._log = (workdir / LOG_FILE).open("a")
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / TENSORBOARD_FOLDER), purge_step=start_step + 1
        )
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("training"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[rate]}"),
            rich.progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            rich.progress.TextColumn("{task.fields[terms]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bar_task = self._bar.add_task(
            "training", total=steps, completed=start_step, rate="", terms="compiling"
        )

    def __enter__(self) -> "Report":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._log.close()
        self._tensorboard.close()

    def say(self, text: str) -> None:
        """One line on the screen, above the progress bar if there is one."""
        self._console.print(text, markup=False, highlight=False)

    def tick(self, step: int) -> None:
        """Moves the progress bar to `step`; costs microseconds."""
        self._bar.update(self._bar_task, completed=step)

    def training(self, step: int, scalars: Mapping[str, float]) -> None:
        """Reports the scalars of the updates since the last call, and their speed."""
        before, then = self._previous
        now = time.monotonic()
        self._previous = (step, now)
        speed, shown = {}, ""
        if step > before:  # Else the first step, which was compiled, is all there is.
            rate = (step - before) / max(now - then, 1e-9)
            left = (self._steps - step) / max(rate, 1e-9)
            speed = {"steps_per_second": rate}
            shown = f"{rate:.3g} steps/s · {left:.0f} s left · "
            self._bar.update(self._bar_task, rate=f"{rate:.3g} steps/s")
        self._write(step, "train", {**scalars, **speed})
        if self._bar.disable:
            self.say(f"step {step}/{self._steps} · {shown}{_terms(scalars)}")
        self._bar.update(self._bar_task, terms=_terms(scalars, _SHOWN_TERMS))

    def first_step(self, step: int) -> None:
        """Says how long the first step of this call took; it does not count for speed.

        Most of it is compilation.
        """
        seconds = time.monotonic() - self._previous[1]
        self.say(
            f"step {step}/{self._steps} · {seconds:.1f} s for the first step, with"
            " compilation"
        )
        self.resume_clock(step)

    def evaluation(self, step: int, scalars: Mapping[str, float]) -> None:
        """Reports the scalars of all evaluations; their time does not count as training.

        Not in steps/s, that is: `seconds` in the log is the whole time.
        """
        self._write(step, "eval", scalars)
        self.say(f"step {step}/{self._steps} · evaluation · {_terms(scalars)}")

    def resume_clock(self, step: int) -> None:
        """Starts the clock of steps/s anew, after something that was no training."""
        self._previous = (step, time.monotonic())

    def pictures(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Sends uint8 (h, w, 3) pictures to TensorBoard."""
        for name, image in images.items():
            self._tensorboard.add_image(name, image, step, dataformats="HWC")
        self._tensorboard.flush()

    def _write(self, step: int, kind: str, scalars: Mapping[str, float]) -> None:
        record = {
            "step": step,
            "kind": kind,
            "seconds": round(time.monotonic() - self._begin, 3),
            "scalars": {name: _jsonable(value) for name, value in scalars.items()},
        }
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()
        for name, value in scalars.items():
            self._tensorboard.add_scalar(f"{kind}/{name}", value, step)
