"""The loop: equal on all devices, resumes exactly, stops cleanly, refuses bad runs."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_task
from jax.experimental.compilation_cache import compilation_cache

from pim_jax.training import checkpoint, loop, report, run_config
from pim_jax.training.stop import StopSignal

pytestmark = pytest.mark.usefixtures("no_plots")

TOY = Path(toy_task.__file__)
ROOT = TOY.parents[3]


def run(workdir, task_options=None, **changes):
    config = toy_task.get_config(**changes)
    return loop.train(toy_task.make(config, **(task_options or {})), config, workdir)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """(folder, state) of an ordinary run, not to be changed."""
    folder = tmp_path_factory.mktemp("once")
    return folder, run(folder)


@pytest.fixture
def finished(once, tmp_path):
    """A copy of the folder of an ordinary run."""
    return shutil.copytree(once[0], tmp_path / "finished")


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_identical(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def subprocess_arguments(workdir, *more):
    return [sys.executable, str(TOY), str(workdir), *more]


def environment(devices=1):
    # Compiled as in this process (conftest.py), for exactly equal numbers.
    flags = (
        f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    )
    changes = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **changes}


@pytest.mark.parametrize(
    "placement",
    [
        {"compile": "jit", "devices": 0},
        {"compile": "pmap", "devices": 8},
        {"compile": "pmap", "devices": 1},
    ],
    ids=str,
)
def test_all_placements_reach_the_parameters_of_one_device(once, tmp_path, placement):
    many = run(tmp_path, **placement)
    assert int(many.step) == 5
    for a, b in zip(leaves(once[1]), leaves(many), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_training_lowers_the_loss_and_moves_the_average(tmp_path):
    state = run(tmp_path, steps=40, log_every=5)
    train = [r for r in report.read_log(tmp_path) if r["kind"] == "train"]
    assert [r["step"] for r in train] == list(range(5, 41, 5))
    assert train[-1]["scalars"]["loss"] < train[0]["scalars"]["loss"]
    assert not np.allclose(state.params["in"]["bias"], state.ema_params["in"]["bias"])


def test_logged_scalars_are_means_over_the_window(tmp_path):
    run(tmp_path / "each", log_every=1, steps=4)
    run(tmp_path / "two", log_every=2, steps=4)

    def losses(name):
        records = report.read_log(tmp_path / name)
        return [r["scalars"]["loss"] for r in records if r["kind"] == "train"]

    each = np.array(losses("each"))
    np.testing.assert_allclose(losses("two"), each.reshape(2, 2).mean(1), rtol=1e-6)


def test_evaluates_before_the_first_step_and_at_the_end(tmp_path):
    run(tmp_path, evaluate_every=2)
    records = report.read_log(tmp_path)
    assert [r["step"] for r in records if r["kind"] == "eval"] == [0, 2, 4, 5]
    assert "weights/norm" in records[0]["scalars"]


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_run_in_two_parts_equals_one_run(tmp_path, mode):
    settings = {"compile": mode, "devices": 4, "checkpoint_every": 2, "log_every": 1}
    whole = run(tmp_path / "whole", **settings)
    with pytest.raises(FloatingPointError, match="step 4"):
        run(tmp_path / "parts", {"bad_step": 3}, **settings)
    parts = run(tmp_path / "parts", **settings)
    assert_identical(leaves(parts), leaves(whole))
    logs = [report.read_log(tmp_path / name) for name in ("whole", "parts")]
    for record in logs[0] + logs[1]:
        record.pop("seconds")
        record["scalars"].pop("steps_per_second", None)
    assert logs[0] == logs[1]


def test_sigkill_at_a_random_step_changes_nothing(tmp_path):
    settings = {"steps": 40, "checkpoint_every": 4, "log_every": 1}
    whole = run(tmp_path / "whole", **{**settings, "checkpoint_every": 0})
    killed_after = random.randint(6, 30)
    arguments = subprocess_arguments(
        tmp_path / "killed",
        f"--config={json.dumps(settings)}",
        "--seconds_per_batch=0.02",
    )
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE)
    try:
        log = tmp_path / "killed" / report.LOG_FILE
        wait_for_lines(process, log, killed_after)
    finally:
        process.kill()
        process.communicate()
    reached = report.read_log(tmp_path / "killed")[-1]["step"]
    assert 5 <= reached < 40, "the run ended before it could be killed"
    resumed = run(tmp_path / "killed", **settings)
    assert_identical(leaves(resumed), leaves(whole))
    steps = [r["step"] for r in report.read_log(tmp_path / "killed")]
    assert steps == [0, *range(1, 41), 40]


def wait_for_lines(process, path, count, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text().count("\n") >= count:
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    pytest.fail(f"no {count} lines in {path}: {process.stderr.read().decode()[-2000:]}")


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")]
)
def test_a_signal_saves_and_ends_with_status_zero(tmp_path, number, cause):
    settings = {"steps": 60, "log_every": 1}  # checkpoints at the end only
    arguments = subprocess_arguments(
        tmp_path / "run", f"--config={json.dumps(settings)}", "--seconds_per_batch=0.02"
    )
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE)
    try:
        wait_for_lines(process, tmp_path / "run" / report.LOG_FILE, 5)
        process.send_signal(number)
        output = process.communicate(timeout=180)[1].decode()
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, output
    assert f"stopped by {cause} at step" in output
    assert "Traceback" not in output
    page = (tmp_path / "run" / "report.html").read_text()
    stopped = report.read_log(tmp_path / "run")[-1]["step"]
    assert 4 <= stopped < 60
    assert f"{stopped} of 60 steps in" in page
    assert checkpoint.read_parameters(tmp_path / "run", stopped)
    resumed = run(tmp_path / "run", **settings)
    assert_identical(leaves(resumed), leaves(run(tmp_path / "whole", **settings)))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_bad_loss_names_its_step_and_is_not_saved(tmp_path, mode):
    with pytest.raises(FloatingPointError, match="loss is nan at step 4"):
        run(
            tmp_path,
            {"bad_step": 3},
            steps=12,
            log_every=6,
            checkpoint_every=2,
            compile=mode,
        )
    parameters = checkpoint.read_parameters(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters))
    with pytest.raises(FileNotFoundError, match=r"it has \[2\]"):
        checkpoint.read_parameters(tmp_path, 4)


def test_debug_nans_stops_inside_the_step(tmp_path):
    with pytest.raises(FloatingPointError, match="nan"):
        run(tmp_path, {"bad_step": 1}, debug_nans=True, log_every=5)
    assert not jax.config.jax_debug_nans


def test_a_finished_run_is_left_as_it_is(once, finished):
    log = (finished / report.LOG_FILE).read_text()
    assert_identical(leaves(run(finished)), leaves(once[1]))
    assert (finished / report.LOG_FILE).read_text() == log
    assert (finished / "report.html").exists()


def test_a_finished_run_can_be_extended(finished, caplog):
    assert int(run(finished, steps=7, log_every=1, devices=2).step) == 7
    # The learning rate follows the length of the run; nothing else has changed.
    told = [r.getMessage() for r in caplog.records if "config." in r.getMessage()]
    assert len(told) == 1
    assert "config.steps is 7, but the checkpoints in" in told[0]
    assert "were trained with 5; what follows the length of a run" in told[0]


def test_a_run_of_any_length_is_extended_without_a_word(finished, caplog):
    config = toy_task.get_config(steps=6)
    task = toy_task.make(config)._replace(follows_length=False)
    assert int(loop.train(task, config, finished).step) == 6
    assert "config." not in caplog.text


def test_fewer_steps_than_were_done(finished):
    with pytest.raises(ValueError, match=r"step 5, after config\.steps = 3"):
        run(finished, steps=3)


def test_another_architecture_is_named_and_loses_nothing(finished):
    before = sorted(str(path) for path in finished.rglob("*"))
    other = {"hidden": 20, "activation": "tanh"}
    expected = r"params/in/bias has shape \(12,\) float32, expected \(20,\) float32"
    with pytest.raises(ValueError, match=expected):
        run(finished, model=other, steps=7)
    assert sorted(str(path) for path in finished.rglob("*")) == before
    assert json.loads((finished / run_config.FILE).read_text())["steps"] == 5


def test_another_model_of_the_same_shapes(finished):
    with pytest.raises(ValueError, match=r"config\.model\.activation is 'relu'"):
        run(finished, model={"hidden": 12, "activation": "relu"})


def test_another_config_is_a_warning(finished, caplog):
    run(finished, ema_decay=0.5, steps=6, log_every=3)
    assert "config.ema_decay is 0.5" in caplog.text
    assert "log_every" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 1}, r"warmup_steps is 1, expected 0 <= warmup_steps < steps = 1"),
        ({"compile": "eager"}, "compile is 'eager', expected 'jit' or 'pmap'"),
        ({"devices": 99}, "devices is 99, expected 0"),
        ({"devices": 3}, "has 16 rows, expected a multiple of its 3 devices"),
        ({"log_every": 0}, "log_every is 0, expected >= 1"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0, expected >= 1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
    ],
)
def test_bad_settings(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        run(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1},
        {"compile": "eager"},
        {"devices": 99},
        {"log_every": 0},
        {"keep_checkpoints": 0},
        {"ema_decay": 1.0},
    ],
)
def test_settings_are_checked_without_a_task(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        loop.check_settings(toy_task.get_config(**changes))
    loop.check_settings(toy_task.get_config())


def test_a_second_interrupt_does_not_wait(capfd):
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested(1)
        assert stop.cause == "Ctrl-C"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "Ctrl-C again stops without saving" in capfd.readouterr().err


def test_of_several_processes_an_interrupt_stops_all(monkeypatch):
    """JAX tells the others of a SIGTERM, and of no other signal."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    try:
        with StopSignal():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_what_runs_in_the_background_ignores_interrupts():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.requested(1)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_page_is_there_after_the_first_evaluation(tmp_path):
    with pytest.raises(FloatingPointError, match="step 4"):
        run(tmp_path, {"bad_step": 3}, evaluate_every=2, log_every=1)
    page = (tmp_path / "report.html").read_text()
    assert "2 of 5 steps in" in page
    assert "data:image/png" in page
    assert not list(tmp_path.glob("*.tmp"))


def test_compilation_does_not_count_as_speed(tmp_path, capfd):
    config = toy_task.get_config(steps=4, log_every=2)
    task = toy_task.make(config)

    def update(state, batch, key):
        # Runs while the step is compiled, and never again.
        time.sleep(1.0)
        return task.update(state, batch, key)

    loop.train(task._replace(update=update), config, tmp_path)
    records = [r for r in report.read_log(tmp_path) if r["kind"] == "train"]
    speeds = [record["scalars"]["steps_per_second"] for record in records]
    assert records[0]["seconds"] > 1
    assert min(speeds) > 2
    assert "s for the first step, with compilation" in capfd.readouterr().err


def test_too_few_batches(tmp_path):
    with pytest.raises(ValueError, match="batches ended before step 4"):
        run(tmp_path, {"batches": 3})


@pytest.mark.slow
def test_exact_with_a_persistent_compilation_cache(once, tmp_path):
    """A cached program once wrote into NumPy's memory, which it thought was donated."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path / "cache"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        for number in range(3):
            jax.clear_caches()
            state = run(tmp_path / str(number))
            assert_identical(leaves(state), leaves(once[1]))
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
