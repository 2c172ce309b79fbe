"""The command: flags, config, metrics from names and folders, files, errors."""

import csv
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import absl.logging
import jax
import ml_collections
import numpy as np
import PIL.Image
import pytest
import skimage.data
import small_bapps

import pim_jax
from pim_jax.evaluation import distances, named, runners, tables
from pim_jax.pim import checkpoints
from pim_jax.pim.initialization import init_params
from pim_jax.pim.model import ModelConfig

ROOT = Path(__file__).parents[1]
TINY = ModelConfig(filters=(3,), z_dim=2, mixtures=1, num_scales=1, steerable_order=0)


def run(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiles fast
    return subprocess.run(
        [sys.executable, str(ROOT / "eval.py"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    checkpoints.write(folder, init_params(TINY, jax.random.key(0)), TINY)
    return folder


def test_bapps_from_the_command_line(tmp_path, checkpoint):
    small_bapps.write(tmp_path / "dataset")
    done = run(
        "--config=configs/eval_bapps.py",
        f"--config.metric=psnr,{checkpoint}",
        f"--config.data_dir={tmp_path / 'dataset'}",
        f"--config.out={tmp_path / 'out'}",
        "--config.batch_size=2",
        "--config.resamples=50",
    )
    assert done.returncode == 0, done.stderr
    for text in ("BAPPS 2AFC", "BAPPS JND", "tiny", "human score", "85.00"):
        assert text in done.stdout
    content = json.loads((tmp_path / "out" / "bapps.json").read_text())
    results = content["tables"][0]["results"]
    assert set(results) == {"psnr", "tiny", "human score", "upper limit"}
    values = {name: score["value"] for name, score in results["psnr"].items()}
    assert values == pytest.approx(small_bapps.TWO_AFC)
    assert content["config"]["resamples"] == 50
    # As docs/results/ has it: what was typed, and which version ran.
    command = shlex.split(content["command"])
    assert command[:3] == [
        "python",
        str(ROOT / "eval.py"),
        "--config=configs/eval_bapps.py",
    ]
    assert content["version"] == pim_jax.__version__
    with (tmp_path / "out" / "bapps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3 + 2 * 2
    assert (tmp_path / "out" / "bapps.png").stat().st_size > 1000


def test_an_interrupted_evaluation_goes_on(tmp_path, monkeypatch):
    """What was computed is written, and the same command does not compute it again."""
    small_bapps.write(tmp_path / "dataset")
    config = config_of(
        "eval_bapps.py", metric="psnr,ssim", data_dir=str(tmp_path / "dataset"),
        out=str(tmp_path / "out"), batch_size=2, resamples=10,
    )  # fmt: skip
    computed = []
    whole = distances._call

    def counted(metric, a, b):
        computed.append(len(a))
        return whole(metric, a, b)

    monkeypatch.setattr(distances, "_call", counted)

    def interrupt(text):
        if text.startswith("ssim: 2AFC cnn"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runners.bapps(config, interrupt)
    # Batches: two for PSNR's triplets of each distortion, and SSIM's of one subset.
    content = json.loads((tmp_path / "out" / "bapps.json").read_text())
    assert content["complete"] is False
    (table,) = content["tables"]
    assert set(table["results"]) == {"psnr", "human score", "upper limit"}
    before = len(computed)
    assert before > 0
    results = runners.bapps(config, lambda text: None)
    after = len(computed)
    values = {k: v.value for k, v in results[0].rows["psnr"].items()}
    assert values == pytest.approx(small_bapps.TWO_AFC)
    runners.bapps(config, lambda text: None)
    assert len(computed) == after  # everything is known by now
    # A new folder computes everything: what was known before was not computed twice.
    config.out = str(tmp_path / "other")
    fresh = runners.bapps(config, lambda text: None)
    assert len(computed) - after == after
    assert fresh == results


def test_all_parts_are_there_before_the_work_begins(tmp_path):
    small_bapps.write(tmp_path)
    shutil.rmtree(tmp_path / "jnd")
    told = []
    config = config_of(
        "eval_bapps.py",
        data_dir=str(tmp_path),
        metric="psnr",
        out=str(tmp_path / "out"),
    )
    with pytest.raises(FileNotFoundError, match="neither jnd"):
        runners.bapps(config, told.append)
    votes = tmp_path / "votes.csv"
    votes.write_text("reference,a,b\nr,a,b\n")
    changes: list[tuple[dict, str]] = [
        ({"comparisons": str(votes)}, "lacks the columns"),
        ({"clic_oracle": str(votes)}, r"config\.clic_dir"),
        ({"shifts": (64,)}, r"config\.shifts"),
        ({"batch_size": 0}, r"config\.batch_size must be at least 1, found 0"),
        ({"metric": "ifc"}, "ifc needs images of at least 65 pixels"),
        ({"out": str(votes)}, "is a file, expected a folder"),
    ]
    for change, message in changes:
        settings = {"bapps_dir": str(tmp_path), "metric": "psnr", "out": "runs/x"}
        config = config_of("eval_judgements.py", **(settings | change))
        with pytest.raises((ValueError, OSError), match=message):
            runners.judgement_tables(config, told.append)
    assert told == []
    assert not (tmp_path / "out").exists()


@pytest.fixture
def program(monkeypatch, tmp_path):
    """`eval.py` as a module, with a config that writes to tmp_path."""
    import eval as module

    config = config_of("eval_ranking.py", out=str(tmp_path / "out"))
    monkeypatch.setattr(module, "_CONFIG", types.SimpleNamespace(value=config))
    monkeypatch.setattr(module, "_JSON", types.SimpleNamespace(value=False))
    return module


def test_every_file_is_named(program, monkeypatch, tmp_path, capsys):
    """Pictures too, and each on one line, however long the path is."""
    table = tables.Table("title", {"a": ""}, {"psnr": {"a": tables.Score(3)}})

    def evaluation(config, progress, output):
        output.picture(np.zeros((4, 4, 3), np.uint8), "some.png")
        output.so_far([table])
        return [table]

    monkeypatch.setattr(program, "EVALUATIONS", {"ranking": evaluation})
    program.main()
    lines = capsys.readouterr().out.splitlines()
    written = {line.removeprefix("written: ") for line in lines if "written" in line}
    assert written == {str(path) for path in (tmp_path / "out").iterdir()}
    names = {Path(path).name for path in written}
    assert names == {"some.png", "ranking.json", "ranking.csv", "ranking.png"}
    program._JSON.value = True
    program.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert printed["complete"] is True


def test_a_warning_is_said_once(program, monkeypatch, caplog):
    """Weights are read for a metric, and again for its bound."""

    def evaluation(config, progress, output):
        for text in ("variable a is not used", "other", "variable a is not used"):
            absl.logging.warning("%s", text)
        return []

    monkeypatch.setattr(program, "EVALUATIONS", {"ranking": evaluation})
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        program.main()
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["variable a is not used", "other"]
    assert logging.getLogger("absl").filters == []


def test_control_c_has_its_own_status(program, monkeypatch, capsys):
    def evaluation(config, progress, output):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "EVALUATIONS", {"ranking": evaluation})
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 130
    assert capsys.readouterr().err.strip().endswith("the same command goes on")


def test_judgements_from_the_command_line(tmp_path):
    small_bapps.write(tmp_path)
    triplet = tmp_path / "2afc" / "val" / "cnn"
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "reference,a,b,votes_b,votes\n"
        + "".join(
            f"ref/{name},p0/{name},p1/{name},{for_b},1\n"
            for name, for_b in (("000000.png", 0), ("000001.png", 0))
        )
    )
    votes = votes.rename(triplet / "votes.csv")
    done = run(
        "--config=configs/eval_judgements.py",
        "--config.metric=psnr,mse",
        f"--config.bapps_dir={tmp_path}",
        f"--config.comparisons={votes}",
        f"--config.out={tmp_path / 'out'}",
        "--config.batch_size=2",
        "--config.resamples=20",
        "--config.shifts=(1,)",
    )
    assert done.returncode == 0, done.stderr
    for text in ("BAPPS 2AFC", "BAPPS JND", "shift of 1 px", "Votes on pairs", "85.00"):
        assert text in done.stdout
    content = json.loads((tmp_path / "out" / "judgements.json").read_text())
    agreement = content["tables"][3]["results"]["psnr"]["agreement"]["value"]
    assert agreement == 0.5
    with pytest.raises(ValueError, match="set at least one of"):
        runners.judgement_tables(config_of("eval_judgements.py"), print)


def test_a_ranking_adds_to_a_report(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<html><body></body></html>")
    config = config_of(
        "eval_ranking.py", metric="mse,ssim", side=48, report=str(report), psnr=22.0,
        out=str(tmp_path / "out"),
    )  # fmt: skip
    (table,) = runners.rank(config, print)
    assert list(table.rows) == ["mse", "ssim"]
    assert sum(score.value for score in table.rows["ssim"].values()) == 36
    assert len(list((tmp_path / "out").glob("*.png"))) == 10
    assert report.read_text().count("<figure>") == 10


def test_codecs_from_the_command_line(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "odd.png").write_bytes(b"")
    picture = skimage.data.astronaut()[60:124, 180:276]
    PIL.Image.fromarray(picture).save(tmp_path / "images" / "a.png")
    done = run(
        "--config=configs/eval_kodak.py",
        "--config.codec=webp",
        f"--config.images_dir={tmp_path / 'images'}",
        "--config.metrics=psnr",
        "--config.qualities=5",
        f"--config.out={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    for text in ("jpeg 92", "webp 90", "differences to jpeg", "BD-PSNR", "Anchor"):
        assert text in done.stdout
    assert "Left out, as they cannot be read: images 1." in done.stdout
    # Said once, by one line for the file and one for the number.
    assert done.stderr.count("odd.png is left out") == 1
    assert done.stderr.count("1 of 2 are left out") == 1
    for name in ("rate_distortion.png", "points.csv", "curves/webp.json", "kodak.csv"):
        assert f"written: {tmp_path}/out/{name}\n" in done.stdout
    for name in ("kodak.json", "kodak.csv", "points.csv", "rate_distortion.png"):
        assert (tmp_path / "out" / name).stat().st_size > 500
    assert not (tmp_path / "out" / "kodak.png").exists()


def test_colour_from_the_command_line(tmp_path, checkpoint):
    done = run(
        "--config=configs/colour.py",
        f"--config.metric=psnr,{checkpoint}",
        "--config.side=16",
        f"--config.out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    for text in ("14 of MacAdam's 25", "psnr", "tiny", "Oklab", "all 25"):
        assert text in done.stdout
    content = json.loads((tmp_path / "colour.json").read_text())
    of_psnr = content["tables"][0]["results"]["psnr"]
    assert of_psnr["axis ratio"]["value"] == pytest.approx(2.484, abs=0.002)
    assert (tmp_path / "ellipses.png").stat().st_size > 10_000


def test_realism_from_the_command_line(tmp_path, checkpoint):
    done = run(
        "--config=configs/realism.py:demo",
        f"--config.metric={checkpoint}",
        "--config.images=4",
        "--config.texture_images=4",
        "--config.side=32",
        "--config.points=64",
        "--config.sigmas=(0.0,)",
        f"--config.out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    for text in ("Realism of 4 crops", "with jpeg"):
        assert text in done.stdout
    tables = json.loads((tmp_path / "realism.json").read_text())["tables"]
    assert len(tables) == 4
    assert {"tiny: KL", "pixels: MMD"} < set(tables[0]["results"])
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_realism_needs_latents():
    config = config_of("realism.py", metric="psnr")
    with pytest.raises(ValueError, match="psnr has none"):
        runners.realism(config, print)
    config.images = 5
    with pytest.raises(ValueError, match=r"config\.images must be even"):
        runners.realism(config, print)


def test_recovery_from_the_command_line(tmp_path):
    (tmp_path / "older.txt").write_text("not of this evaluation")
    done = run(
        "--config=configs/recovery.py",
        "--config.metric=psnr",
        "--config.images=1",
        "--config.side=16",
        "--config.steps=5",
        f"--config.out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    for text in ("Recovery of 1 images of 16x16 from noise", "from jpeg 10"):
        assert text in done.stdout
    for name in ("recovery.json", "recovery.csv", "pictures.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 100
        assert f"written: {tmp_path / name}" in done.stdout.splitlines()
    assert "older.txt" not in done.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.metric=sssim", "did you mean 'ssim'"),
        ("--config.metirc=ssim", "metirc"),
    ],
)
def test_wrong_input_is_one_line(argument, message):
    done = run("--config=configs/eval_bapps.py", argument)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def config_of(name, **changes):
    """The config of a file, with other values."""
    module: dict = {}
    exec((ROOT / "configs" / name).read_text(), module)
    config = module["get_config"]()
    config.update_from_flattened_dict(changes)
    return config


def test_wrong_settings_are_named(tmp_path):
    config = config_of("eval_bapps.py", data_dir=str(tmp_path), metric="psnr")
    with pytest.raises(FileNotFoundError, match="official layout"):
        runners.bapps(config, print)
    config.parts = "3afc"
    with pytest.raises(ValueError, match=r"config\.parts must be among"):
        runners.bapps(config, print)
    for text, message in (("ssim,ssim", "names one twice"), (" ,", "found none")):
        with pytest.raises(ValueError, match=message):
            named.load_metrics(text)


def test_clic_needs_its_files():
    config = config_of("eval_clic2021.py")
    assert isinstance(config, ml_collections.ConfigDict)
    with pytest.raises(ValueError, match=r"config\.oracle must be set"):
        runners.clic2021(config, print)


def test_behaviour_on_the_packaged_clips(tmp_path, checkpoint, sample_clips):
    config = config_of(
        "eval_behaviour.py",
        **{
            "metric": f"psnr,{checkpoint}",
            "frames": 2,
            "others": 4,
            "queries": 3,
            "resamples": 10,
            "bound_batch": 4,
            "shifts": (1,),
            "data.prepared_dir": str(tmp_path),
            "data.short_side": 64,
            "data.crop": 32,
        },
    )
    tables = runners.behaviour_table(config, print)
    assert list(tables[2].rows) == ["psnr", "tiny", "tiny untrained"]
    # The checkpoint holds the very weights that seed 0 starts from.
    trained, start = tables[2].rows["tiny"], tables[2].rows["tiny untrained"]
    assert trained["IXYZ, mean"].value == pytest.approx(start["IXYZ, mean"].value)
    assert trained["retrieval"] == start["retrieval"]


def test_all_stands_for_what_is_at_hand():
    names = [found.name for found in named.load_metrics("ssim,all")]
    assert names[:3] == ["ssim", "mse", "psnr"]
    assert len(set(names)) == len(names)
    assert {"vif", "fsimc"} < set(names)
    assert not {"lpips-alex", "dists", "pim-5-published"} & set(names)


def test_equal_folder_names_are_told_apart(tmp_path):
    for name in ("a/run", "b/run"):
        params = init_params(TINY, jax.random.key(0))
        checkpoints.write(tmp_path / name, params, TINY)
    text = f"{tmp_path}/a/run,{tmp_path}/b/run"
    names = [found.name for found in named.load_metrics(text)]
    assert names == ["run", f"{tmp_path}/b/run"]
