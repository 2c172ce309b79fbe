"""Scores metrics and codecs: from flags and a config to tables, files and pictures.

Usage: python eval.py --config=configs/eval_bapps.py --config.metric=ssim,runs/pim \
           --config.data_dir=dataset
       python eval.py --config=configs/eval_kodak.py --config.codec=webp,runs/codec \
           --config.images_dir=kodak
       python eval.py --config=configs/eval_toy.py

`config.metric` and `config.codec` are lists with commas of names (`pim-jax metrics`) and
folders. Tables are written after each metric, and the distances that they are made of as
they come, to OUT/distances: after an interruption the same command goes on from there.
--json prints what OUT/NAME.json holds, and nothing else.
--config comes before the keys of the config that are set.
Exit status: 0 when done; 2 for an error in the input, named in one line (--traceback
shows where it came from); 130 after Ctrl-C.
"""

import json
import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy
import rich.console
from absl import flags
from ml_collections import config_flags

import codec_jax.evaluation.runners
import pim_jax.evaluation.runners
from pim_jax.evaluation import tables
from pim_jax.evaluation.outputs import Output
from pim_jax.training import command

EVALUATIONS = (
    pim_jax.evaluation.runners.EVALUATIONS | codec_jax.evaluation.runners.EVALUATIONS
)

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file to evaluate by.")
_JSON = flags.DEFINE_bool("json", False, "Print the tables as JSON and nothing else.")


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Says each warning once: some files are read for a metric and again for its bound."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        known = text in seen
        seen.add(text)
        return not known

    logger = logging.getLogger("absl")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def main() -> None:
    """From flags to tables and files."""
    config = _CONFIG.value
    if config.evaluation not in EVALUATIONS:
        raise ValueError(
            f"config.evaluation is {config.evaluation!r}, expected one of "
            f"{[*EVALUATIONS]}"
        )
    about = {
        "config": json.loads(config.to_json_best_effort()),
        "versions": {
            "pim_jax": pim_jax.__version__,
            "jax": jax.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "device": jax.devices()[0].device_kind,
    }
    output = Output(config.out, config.evaluation, about)
    try:
        with (
            _warnings_once(),
            rich.console.Console(stderr=True).status("reading data") as status,
        ):
            results = EVALUATIONS[config.evaluation](config, status.update, output)
            output.finish(results)
    except KeyboardInterrupt:
        print("eval.py: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(command.INTERRUPTED)
    if _JSON.value:
        print(output.content(results), end="")
        return
    console = rich.console.Console()
    for table in results:
        tables.show(table, console)
    for path in output.written:
        console.print(f"written: {path}", soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    command.run(main)
