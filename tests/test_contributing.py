"""The example of CONTRIBUTING.md, carried out in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|diff)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks():
    """(kind, path, content) of each code block that begins with a path."""
    return BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def changed(text, diff):
    """The text after a change, whose place has to be unique."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"{text.count(before)} times in the file: {before}"
    return text.replace(before, after)


@pytest.fixture
def checkout(tmp_path):
    """A copy of pim_jax with the example in it."""
    shutil.copytree(
        ROOT / "pim_jax",
        tmp_path / "pim_jax",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for kind, name, content in blocks():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "diff":
            content = changed(path.read_text(encoding="utf-8"), content)
        path.write_text(content, encoding="utf-8")
    return tmp_path


def test_the_example_has_a_metric_its_entry_and_a_test():
    paths = [path for _, path, _ in blocks()]
    assert any(path.startswith("pim_jax/metrics/") for path in paths)
    assert "pim_jax/metrics/__init__.py" in paths
    assert any(path.startswith("tests/") for path in paths)


def test_the_test_of_the_example_passes(checkout):
    tests = [path for _, path, _ in blocks() if path.startswith("tests/")]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        check=True,
    )


def test_the_example_is_listed(checkout):
    program = "import pim_jax, pim_jax.cli; pim_jax.cli.main(['metrics', '--json'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"name": "mae"' in done.stdout
