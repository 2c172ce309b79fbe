"""The command: demo of few steps, from flags to a metric; errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import pim_jax

ROOT = Path(__file__).parents[1]
FEW = (
    "--config.steps=4",
    "--config.log_every=2",
    "--config.evaluate_every=0",
    "--config.checkpoint_every=2",
    "--config.model.frontend=laplacian",
    "--config.model.num_scales=2",
    "--config.model.filters=(4, 3)",
    "--config.optimizer.warmup_steps=1",
    "--config.data.batch_size=4",
    "--config.data.crop=16",
    "--config.data.short_side=72",
    "--config.data.validation_pairs=5",
)


def train(workdir, *flags):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            "--config=configs/pim.py:demo",
            f"--workdir={workdir}",
            *flags,
        ],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
        timeout=300,
    )


def test_the_demo_ends_with_a_report_and_a_metric(tmp_path, small_frames):
    workdir = tmp_path / "run"
    prepared = small_frames.parents[2]
    done = train(workdir, *FEW, f"--config.data.prepared_dir={prepared}")
    assert done.returncode == 0, done.stderr
    page = (workdir / "report.html").read_text()
    assert "<img" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    lines = (workdir / "log.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["eval", "train", "train", "eval"]
    steps = {path.name for path in (workdir / "checkpoints").iterdir() if path.is_dir()}
    assert steps == {"2", "4"}
    assert list((workdir / "tensorboard").iterdir())
    metric = pim_jax.load(workdir)
    image = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    assert metric(image, image)[0] == 0
    assert metric(image, 1 - image)[0] > 0


def only_line(done):
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_misspelt_key_is_named(tmp_path):
    line = only_line(train(tmp_path / "run", "--config.data.batchsize=4"))
    assert "batchsize" in line
    assert "batch_size" in line
    assert not (tmp_path / "run").exists()


def test_a_missing_folder_of_videos_is_named(tmp_path):
    missing = tmp_path / "videos"
    line = only_line(train(tmp_path / "run", f"--config.data.video_dir={missing}"))
    assert str(missing) in line
    assert not (tmp_path / "run").exists()
