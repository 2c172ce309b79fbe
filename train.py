"""Trains a task, from flags and a config to the one loop.

Usage: python train.py --config=configs/pim.py --workdir=runs/pim

Any key of the config can be set after --config, which comes first:
--config.steps=1000 --config.optimizer.clip_norm=0. The same command on the same workdir
goes on from its newest checkpoint. Several processes (hosts) give, beside the same
command, --coordinator_address, --num_processes and --process_id; on a pod
--coordinator_address=auto suffices.

Exit status: 0 when the run is done, and also when SIGTERM or Ctrl-C stopped it after
saving; 2 for an error in the input, named in one line (--traceback shows where it came
from); 130 when Ctrl-C stopped it without saving: before the first step, or the second time.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

import codec_jax.tasks.codec
import codec_jax.tasks.linear_weights
import codec_jax.toy.task
import pim_jax.tasks.pim
from pim_jax.training import command, devices, loop

TASKS = {
    "codec": codec_jax.tasks.codec.make,
    "heads": codec_jax.tasks.linear_weights.make,
    "pim": pim_jax.tasks.pim.make,
    "toy": codec_jax.toy.task.make,
}

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file of the run.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder that receives everything.", required=True
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "Several processes: 'host:port' of process 0, or 'auto' on a pod.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one this is, from 0.")


def main() -> None:
    """From flags to the loop."""
    devices.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    config, workdir = _CONFIG.value, Path(_WORKDIR.value).expanduser()
    if config.task not in TASKS:
        raise ValueError(f"config.task is {config.task!r}, expected one of {[*TASKS]}")
    loop.check_settings(config)
    loop.train(TASKS[config.task](config), config, workdir)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    command.run(main)
