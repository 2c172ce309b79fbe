"""The documents keep step with the code: paths, names and commands in them exist."""

import argparse
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import codec_jax
import codec_jax.cli
import pim_jax
import pim_jax.cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
]
PATH = re.compile(
    r"(?<![\w/.])((?:pim_jax|codec_jax|configs|docs|device|tests|constraints|\.ci)/"
    r"[\w./-]*\w)"
)
NAME = re.compile(r"`((?:pim_jax|codec_jax)(?:\.\w+)+)`")
# Old names, shown as such; and files that somebody adds.
MOVED = {"pim_jax.backbones"}
ADDED = re.compile(r"NAME|\bmae\b|test_mae")
PROGRAM = re.compile(r"\bpython (train|eval)\.py|\b(codec-jax|pim-jax|make) ")


def text_of(document):
    return document.read_text(encoding="utf-8")


def resolve(name):
    """The object of a dotted name: an attribute of a module, or a module."""
    package, *parts = name.split(".")
    found = importlib.import_module(package)
    for part in parts:
        package = f"{package}.{part}"
        # An attribute of a package before a module in it: `pim_jax.distance`.
        if not hasattr(found, part):
            importlib.import_module(package)
        found = getattr(found, part)
    return found


def commands_in(document):
    """Command lines in code blocks; a backslash joins lines, and # starts a comment."""
    text = text_of(document).replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^    \S.*", text, re.MULTILINE))
    for line in blocks.splitlines():
        if PROGRAM.match(line.strip()):
            yield line.strip()


COMMANDS = sorted({line for document in DOCUMENTS for line in commands_in(document)})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_names_exist(document):
    text = text_of(document)
    paths = {path for path in PATH.findall(text) if not ADDED.search(path)}
    assert not [path for path in paths if not (ROOT / path).exists()]
    for name in set(NAME.findall(text)) - MOVED:
        resolve(name)


def test_every_term_has_a_file_and_every_name_is_full():
    rows = [
        line.replace(r"\|", "").split("|")[1:-1]
        for line in text_of(ROOT / "docs" / "terms.md").splitlines()
        if line.startswith("| ") and not line.startswith("| term")
    ]
    assert len(rows) > 50
    for term, files, names in rows:
        assert PATH.findall(files), term
        assert NAME.findall(names), term


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    program, *arguments = shlex.split(command, comments=True)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert arguments[0] in targets
    elif program == "python":
        understood_by_flags(arguments[1:])
    elif program == "codec-jax":
        codec_jax.cli._parsed(arguments)
    else:
        parsed = pim_jax.cli._parser().parse_args(arguments)
        assert isinstance(parsed, argparse.Namespace)


def understood_by_flags(arguments):
    """`--config=FILE:VARIANTS`, then keys that this file has."""
    first, *others = arguments
    file, _, variants = first.removeprefix("--config=").partition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, ROOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(*([variants] if variants else []))
    for argument in others:
        flag, _, value = argument.partition("=")
        assert value, argument
        if flag.startswith("--config."):
            found = config
            for key in flag.removeprefix("--config.").split("."):
                assert key in found, f"{file} has no {flag}"
                found = found[key]


def test_the_version_is_the_same_everywhere():
    citation = text_of(ROOT / "CITATION.cff")
    assert codec_jax.__version__ == pim_jax.__version__
    assert f"\nversion: {pim_jax.__version__}\n" in citation
    assert f"## {pim_jax.__version__}" in text_of(ROOT / "CHANGELOG.md")
