"""train.py: an error of the user is one line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from pim_jax.training import command

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
from ml_collections import ConfigDict

def get_config(variant=""):
    if variant:
        raise ValueError(f"no variant {variant!r}, expected 'demo'")
    return ConfigDict({"task": "pin", "steps": 3, "optimizer": {"learning_rate": 0.1}})
"""


def train(tmp_path, *flags, config="config.py"):
    (tmp_path / "config.py").write_text(CONFIG)
    workdir = tmp_path / "run"
    result = subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            f"--config={tmp_path / config}",
            f"--workdir={workdir}",
            *flags,
        ],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert not workdir.exists()
    return result.stderr


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--config.optimizer.lerning_rate=1"], 'Did you mean "learning_rate"'),
        (
            [],
            "error: config.task is 'pin', expected one of ['codec', 'heads', 'pim', 'toy']",
        ),
    ],
)
def test_one_line(tmp_path, flags, text):
    lines = train(tmp_path, *flags).strip().splitlines()
    assert text in lines[-1]
    assert "Traceback" not in "\n".join(lines)
    assert len(lines) == 1


def test_a_missing_config_file(tmp_path):
    stderr = train(tmp_path, config="missing.py")
    assert "missing.py" in stderr.strip().splitlines()[-1]
    assert "Traceback" not in stderr


def test_the_trace_on_request(tmp_path):
    assert "Traceback" in train(tmp_path, "--traceback")


@pytest.fixture
def flag_values(monkeypatch):
    """A program's flags, and its name as the first argument."""
    values = flags.FlagValues()
    flags.DEFINE_integer("number", 1, "A number.", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    return values


def ended(monkeypatch, main, *arguments):
    """Status of a program in this process."""
    monkeypatch.setattr(command.sys, "argv", ["program.py", *arguments])
    # As absl's, without its handlers and its own flags.
    monkeypatch.setattr(
        command.app,
        "run",
        lambda start, flags_parser: start(flags_parser([*command.sys.argv])),
    )
    with pytest.raises(SystemExit) as caught:
        command.run(main)
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nunber=2"], "Unknown command line flag 'nunber'. Did you mean: number"),
        (["--number=two"], "invalid literal"),
        (["more"], "unexpected arguments: more"),
    ],
)
def test_misuse_has_the_status_of_argparse(
    flag_values, monkeypatch, capsys, arguments, text
):
    assert ended(monkeypatch, lambda: None, *arguments) == command.USAGE == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("program.py: error: ")
    assert text in line


def test_an_interrupt_is_one_line(flag_values, monkeypatch, capsys):
    def main():
        raise KeyboardInterrupt

    assert ended(monkeypatch, main) == command.INTERRUPTED
    assert capsys.readouterr().err == "program.py: interrupted\n"


def test_the_reason_of_a_config_file_that_raises(tmp_path):
    lines = train(tmp_path, config="config.py:small").strip().splitlines()
    assert len(lines) == 1
    assert "error: no variant 'small', expected 'demo'" in lines[0]


def test_messages_lose_their_wrapping():
    wrapped = AttributeError(KeyError("'stepz'\nDid you mean \"steps\"?"))
    assert command.message(wrapped) == "'stepz'; Did you mean \"steps\"?"
    assert command.message(ValueError("found 1")) == "found 1"
    assert "No such file" in command.message(FileNotFoundError(2, "No such file", "x"))


@pytest.mark.parametrize("argument", ["--nonsense=1", "left-over"])
def test_wrong_usage_has_its_own_status(argument):
    """As of the commands `pim-jax` and `codec-jax`; 1 is wrong input."""
    program = "from pim_jax.training import command; command.run(lambda: None)"
    done = subprocess.run(
        [sys.executable, "-c", program, argument],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == command.USAGE == 2
    (line,) = done.stderr.strip().splitlines()
    assert argument.lstrip("-").partition("=")[0] in line
