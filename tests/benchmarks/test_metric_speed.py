"""The benchmark of the metrics runs, at tiny sizes and without the references."""

import sys

import pytest

from tests.benchmarks import metric_reference, metric_speed

SIZES = ((1, 12, 16), (2, 10, 10))


def test_times_every_metric_that_is_large_enough():
    result = metric_speed.run(
        ["mse", "ssim", "no such metric"], None, 0, SIZES, SIZES[:1]
    )
    entries = [(entry["name"], entry["size"]) for entry in result["entries"]]
    assert entries == [("mse", SIZES[0]), ("ssim", SIZES[0]), ("mse", SIZES[1])]
    assert result["skipped"] == [f"ssim: {SIZES[1]} is too small"]
    assert result["environment"]["threads"] >= 1
    assert metric_speed.table(result).row_count == 3
    assert [entry["name"] for entry in result["plain"]] == ["ssim"]
    assert result["plain"][0]["ratio"]["median"] > 0
    assert metric_speed.plain_table(result).row_count == 1


def test_metrics_without_their_files_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("PIM_JAX_CACHE", str(tmp_path))
    found, skipped = metric_speed.loaded(["mse", "pim-1-published"])
    assert list(found) == ["mse"]
    assert skipped == ["pim-1-published: its weights are not here"]


def test_every_reference_can_be_made():
    names = {name for names in metric_speed.REFERENCES.values() for name in names}
    assert names == set(metric_reference.MAKE)


def test_takes_turns_with_a_reference(tmp_path):
    # Stands in for a Python with all packages.
    python = tmp_path / "python"
    program = (
        'import json, sys; print(\'{"torch": "none"}\', flush=True)\n'
        "for line in sys.stdin:\n"
        "    missing = json.loads(line)['name'].startswith('pytorch_msssim')\n"
        "    answer = {'missing': 'why'} if missing else {'seconds': 2.0}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    (tmp_path / "answers.py").write_text(program)
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'answers.py'}\n")
    python.chmod(0o755)
    result = metric_speed.run(["ms-ssim"], str(python), 0, SIZES[:1])
    (entry,) = result["entries"]
    assert list(entry["ratios"]) == ["piq.multi_scale_ssim"]
    assert entry["seconds"]["piq.multi_scale_ssim"]["median"] == 2
    (table,) = result["tables"]
    assert table["results"]["ms-ssim"]["theirs"]["value"] == 2
    assert result["skipped"] == [f"pytorch_msssim.ms_ssim at {SIZES[0]}: why"]
    assert metric_speed.table(result).row_count == 1


def test_a_python_without_the_packages_says_so(tmp_path):
    # Without packages: not even NumPy.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(ValueError, match="reference metrics do not run"):
        metric_speed.run(["mse"], str(python), 0, SIZES)
