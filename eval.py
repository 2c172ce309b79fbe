"""Scores metrics and codecs: from flags and a config to tables, files and pictures.

Usage: python eval.py --config=configs/eval_bapps.py --config.metric=ssim,runs/pim \
           --config.data_dir=dataset
       python eval.py --config=configs/eval_kodak.py --config.codec=webp,runs/codec \
           --config.images_dir=kodak
       python eval.py --config=configs/eval_toy.py

`config.metric` and `config.codec` are lists with commas of names (`pim-jax metrics`) and
folders.
--config comes before the keys of the config that are set.
Exit status: 0 when done; 2 for an error in the input, named in one line (--traceback
shows where it came from); 130 when Ctrl-C stopped it.
"""

import json
import platform
from pathlib import Path

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
    before = _files(Path(config.out))
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
    tables.save(results, config.out, config.evaluation, about)
    # Evaluations write pictures and more themselves.
    for path, changed in sorted(_files(Path(config.out)).items()):
        if before.get(path) != changed:
            console.print(f"written: {path}", soft_wrap=True)


def _files(folder: Path) -> dict[Path, int]:
    """The files of a folder and its subfolders, with their times of change."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    command.run(main)
