"""The command `pim-jax`."""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

import pim_jax
from pim_jax import cli
from pim_jax.features import torchvision
from pim_jax.metrics import METRICS
from pim_jax.pim import checkpoints, published
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig
from pim_jax.training import checkpoint

SMALL = ModelConfig(
    num_scales=1, steerable_order=0, filters=(2, 3), z_dim=2, mixtures=2
)


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, 20, 30, 3), np.uint8)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, pixels, strict=True):
        PIL.Image.fromarray(image).save(path)
    return paths, pixels.astype(np.float32) / 255


@pytest.fixture
def folder(tmp_path):
    params = init_params(SMALL, jax.random.key(0))
    checkpoints.write(tmp_path / "weights", params, SMALL)
    return tmp_path / "weights"


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def assert_one_line_error(result, *parts, status=1):
    found, out, error = result
    assert found == status
    assert not out
    assert error.startswith("pim-jax: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    for part in parts:
        assert part in error


def test_distance(capsys, images, folder):
    (a, b), pixels = images
    for metric in ("mse", folder):
        status, out, error = run(capsys, "distance", a, b, "--metric", metric)
        assert (status, error) == (0, "")
        expected = pim_jax.load(metric)(pixels[:1], pixels[1:])
        np.testing.assert_allclose(float(out), expected[0], rtol=1e-5)
    assert run(capsys, "distance", a, a)[:2] == (0, "0\n")


def test_psnr_is_printed_in_decibels(capsys, images):
    """What it returns is the squared error: smaller is closer, as of all metrics."""
    (a, b), pixels = images
    error = np.mean(np.square(pixels[0] - pixels[1]))
    status, out, _ = run(capsys, "distance", a, b, "--metric", "psnr")
    value, unit = out.split()
    assert (status, unit) == (0, "dB")
    assert float(value) == pytest.approx(-10 * np.log10(error), rel=1e-5)
    assert run(capsys, "distance", a, a, "--metric", "psnr")[1] == "inf dB\n"
    _, out, _ = run(capsys, "distance", a, b, "--metric", "psnr", "--json")
    found = json.loads(out)
    assert found == {
        "metric": "psnr",
        "distance": pytest.approx(error, rel=1e-5),
        "printed": pytest.approx(float(value), rel=1e-5),
        "unit": "dB",
    }
    _, out, _ = run(capsys, "distance", a, a, "--metric", "psnr", "--json")
    assert json.loads(out)["printed"] is None


def test_images_that_differ_in_size(capsys, images, tmp_path):
    (a, _), _ = images
    small = tmp_path / "a very long name [with] brackets " / "small.png"
    small.parent.mkdir()
    PIL.Image.new("RGB", (7, 9)).save(small)
    result = run(capsys, "distance", a, small)
    assert_one_line_error(result, "30x20", "7x9", str(small))


def test_files_that_are_missing_or_no_images(capsys, images, tmp_path):
    (a, _), _ = images
    assert_one_line_error(run(capsys, "distance", a, tmp_path / "c.png"), "c.png")
    (tmp_path / "c.png").write_text("no image")
    assert_one_line_error(run(capsys, "distance", a, tmp_path / "c.png"), "c.png")


def test_unknown_metric_and_too_small_image(capsys, images, tmp_path):
    (a, b), _ = images
    result = run(capsys, "distance", a, b, "--metric", "ms-sim")
    assert_one_line_error(result, "did you mean 'ms-ssim'?", status=2)
    PIL.Image.new("RGB", (2, 2)).save(tmp_path / "tiny.png")
    tiny = tmp_path / "tiny.png"
    assert_one_line_error(run(capsys, "distance", tiny, tiny), "2x2")


def test_weights_that_cannot_be_had(capsys, images, tmp_path, monkeypatch):
    (a, b), _ = images
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "URL", "http://127.0.0.1:9")
    result = run(capsys, "distance", a, b, "--metric", "pim-1-published")
    assert_one_line_error(result, "put that file at", "pim-1.zip")
    result = run(capsys, "distance", a, b, "--metric", "psnr", "--weights", tmp_path)
    assert_one_line_error(result, "no weights")


def test_ctrl_c_ends_with_one_line(capsys, images, monkeypatch):
    def interrupts(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_image", interrupts)
    result = run(capsys, "distance", *images[0])
    assert result == (130, "", "pim-jax: interrupted\n")


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"pim-jax {pim_jax.__version__}\n"


def test_convert(capsys, folder, tmp_path):
    assert run(capsys, "convert", folder, tmp_path / "out") == (0, "", "")
    expected, config = checkpoints.read(folder)
    found, found_config = checkpoints.read(tmp_path / "out")
    assert found_config == config
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    result = run(capsys, "convert", folder, tmp_path / "out")
    assert_one_line_error(result, "exists", str(tmp_path / "out"), status=2)
    # Before the weights are read.
    result = run(capsys, "convert", tmp_path / "nothing", tmp_path / "out")
    assert_one_line_error(result, "exists", str(tmp_path / "out"), status=2)
    result = run(capsys, "convert", tmp_path / "nothing", tmp_path / "out2")
    assert_one_line_error(result, "nothing does not exist")


def test_convert_to_half_the_size(capsys, folder, tmp_path):
    assert run(capsys, "convert", folder, tmp_path / "out", "--half") == (0, "", "")
    expected, config = checkpoints.read(folder)
    found, found_config = checkpoints.read(tmp_path / "out")
    assert found_config == config
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2**-11, atol=1e-7),
        found,
        expected,
    )
    with np.load(tmp_path / "out" / checkpoints.ARRAYS) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}


def test_convert_a_step_of_a_run(capsys, folder, tmp_path):
    run_folder, params = tmp_path / "run", checkpoints.read(folder)[0]
    with checkpoint.manager(run_folder, keep=2) as opened:
        for step in (1, 2):
            scaled = jax.tree.map(lambda x, step=step: np.asarray(step * x), params)
            checkpoint.save(opened, step, {"ema_params": scaled})
    model = {"seed": 0, "model": dataclasses.asdict(SMALL)}
    (run_folder / "config.json").write_text(json.dumps(model))
    for options, step in ((("--step", 1), 1), ((), 2)):
        out = tmp_path / f"out-{step}"
        assert run(capsys, "convert", run_folder, out, *options) == (0, "", "")
        found, _ = checkpoints.read(out)
        jax.tree.map(
            lambda x, y, step=step: np.testing.assert_array_equal(x, step * y),
            found,
            params,
        )
    for source, said in ((run_folder, "no checkpoint of step 3"), (folder, "no run")):
        result = run(capsys, "convert", source, tmp_path / "out-3", "--step", 3)
        assert_one_line_error(result, said)


@pytest.mark.shared
def test_convert_published(capsys, shared, tmp_path):
    source = shared / "fixtures" / "pim" / "tiny-1"
    assert run(capsys, "convert", source, tmp_path / "out")[0] == 0
    expected, found = pim_jax.load(source), pim_jax.load(tmp_path / "out")
    assert found.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_metrics(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "40")
    (tmp_path / "pim-1").mkdir()
    (tmp_path / torchvision.FILES["alexnet"]).touch()
    status, out, _ = run(capsys, "metrics")
    assert status == 0
    rows = {
        line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line
    }
    assert set(METRICS) <= set(rows)
    assert "none needed" in rows["psnr"]
    assert "in the cache" in rows["pim-1-published"]
    assert "downloaded on first use" in rows["pim-5-published"]
    assert "alexnet in the cache" in rows["lpips-alex"]
    assert "vgg16 downloaded on first use" in rows["dists"]
    # Captured, so not on a terminal: one line for each metric, however long.
    assert len(out.splitlines()) == len(METRICS) + 4
    assert all(METRICS[name].reference in rows[name] for name in METRICS)
    status, out, _ = run(capsys, "metrics", "--json")
    found = {known["name"]: known for known in json.loads(out)}
    assert list(found) == list(METRICS)
    assert found["ssim"]["minimum_size"] == METRICS["ssim"].minimum_size
    assert found["nlpd"]["largest"] is None
    assert {k for k, known in found.items() if known["unit"] == "dB"} == {"psnr"}


def test_listing_metrics_loads_no_weights():
    program = """
import sys
opened = []
sys.addaudithook(lambda e, of: opened.append(str(of[0])) if e == "open" else None)
from pim_jax import cli
assert cli.main(["metrics"]) == 0
weights = [path for path in opened if path.endswith((".npz", ".pth", ".index"))]
sys.exit(", ".join(weights) or 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize("arguments", [[], ["compare"], ["distance", "a.png"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: pim-jax" in capsys.readouterr().err


def test_the_command_is_installed():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="pim-jax")
    assert [script.value for script in scripts] == ["pim_jax_start:pim"]
