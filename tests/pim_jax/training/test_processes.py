"""Two processes on one machine: start, train, stop together, and only one writes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_task

from pim_jax.training import checkpoint, devices, loop, report

TOY = Path(toy_task.__file__)


def start_two(workdir, config, *more):
    """Two processes with two devices each, so that devices 0..3 hold the batch."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(TOY.parents[3]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    return [
        subprocess.Popen(
            [
                sys.executable,
                str(TOY),
                str(workdir),
                f"--config={json.dumps(config)}",
                f"--coordinator=localhost:{port}",
                "--processes=2",
                f"--process={index}",
                f"--result={workdir}.{index}.npz",
                *more,
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def finish(processes, seconds=90):
    try:
        outputs = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return outputs


def result(workdir, index):
    with np.load(f"{workdir}.{index}.npz") as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_two_processes_equal_one(tmp_path, mode):
    config = {"compile": mode, "devices": 0, "checkpoint_every": 3, "log_every": 1}
    outputs = finish(start_two(tmp_path / "two", config))
    assert "wrote" in outputs[0]
    assert "step" not in outputs[1]

    first, second = (result(tmp_path / "two", index) for index in range(2))
    single_config = toy_task.get_config()
    single = loop.train(toy_task.make(single_config), single_config, tmp_path / "one")
    expected = [np.asarray(leaf) for leaf in jax.tree.leaves(single)]
    for a, b, c in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=0, atol=1e-5)

    steps = [record["step"] for record in report.read_log(tmp_path / "two")]
    assert steps == [0, 1, 2, 3, 4, 5, 5]
    stored = checkpoint.read_parameters(tmp_path / "two", 3)
    assert stored["in"]["kernel"].shape == (8, 12)
    events = list((tmp_path / "two" / report.TENSORBOARD_FOLDER).iterdir())
    assert len(events) == 1


def test_sigterm_to_one_of_two_stops_and_saves_both(tmp_path):
    config = {"devices": 0, "steps": 400, "log_every": 1}
    workdir = tmp_path / "two"
    processes = start_two(workdir, config, "--seconds_per_batch=0.05")
    log = workdir / report.LOG_FILE
    end = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 3):
        if time.monotonic() > end or any(p.poll() is not None for p in processes):
            break
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    outputs = finish(processes)
    assert "stopped by SIGTERM" in outputs[0]
    step = report.read_log(workdir)[-1]["step"]
    assert 3 <= step < 400
    assert checkpoint.read_parameters(workdir, step)
    assert [int(result(workdir, index)[0]) for index in range(2)] == [step, step]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("localhost:1", None, None), "needs num_processes and process_id as well"),
        (("localhost:1", 2, 2), r"process_id is 2, expected 0\.\.1"),
        ((None, 2, 0), "need coordinator_address='host:port', found None"),
        (("auto", 2, 0), "need coordinator_address='host:port', found 'auto'"),
    ],
)
def test_incomplete_flags(arguments, text):
    with pytest.raises(ValueError, match=text):
        devices.start(*arguments)
