"""Scores metrics and codecs: from flags and a config to tables, files and pictures.

Usage: python eval.py --config=configs/eval_bapps.py --config.metric=ssim,runs/pim \
           --config.data_dir=dataset
       python eval.py --config=configs/eval_kodak.py --config.codec=webp,runs/codec \
           --config.images_dir=kodak
       python eval.py --config=configs/eval_toy.py

`config.metric` and `config.codec` are lists with commas of names (`pim-jax metrics`) and
folders.
Exit status: 0 when done; 1 for an error in the input, named in one line (--traceback
shows where it came from).
"""

import json
import platform

import jax
import numpy
import rich.console
from absl import flags
from ml_collections import config_flags

import codec_jax.evaluations
import pim_jax.evaluations
from pim_jax import tables
from pim_jax.training import command

EVALUATIONS = pim_jax.evaluations.EVALUATIONS | codec_jax.evaluations.EVALUATIONS

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file to evaluate by.")


def main() -> None:
    """From flags to tables and files."""
    config = _CONFIG.value
    if config.evaluation not in EVALUATIONS:
        raise ValueError(
            f"config.evaluation is {config.evaluation!r}, expected one of "
            f"{[*EVALUATIONS]}"
        )
    console = rich.console.Console()
    with console.status("reading data") as status:
        results = EVALUATIONS[config.evaluation](config, status.update)
    for table in results:
        tables.show(table, console)
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
    for path in tables.save(results, config.out, config.evaluation, about):
        console.print(f"written: {path}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    command.run(main)
