"""The documentation site: the Markdown files of the repository, and an API reference.

`make docs` builds it into build/docs; a warning, such as one of a dead link, is an error.
The source folder is the whole repository, since pages link to files outside docs/.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from pim_jax.version import __version__

ROOT = Path(__file__).resolve().parents[1]

project = "pim_jax and codec_jax"
version = release = __version__
html_title = f"{project} {release}"
html_theme = "furo"
html_extra_path = ["site"]

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "device/README.md",
    "docs/*.md",
    "docs/api/*/*",
    "codec_jax/**.md",
    "pim_jax/**.md",
]
exclude_patterns = [".*", "build", "runs", "docs/api/*/modules.rst"]
myst_heading_anchors = 3
highlight_language = "none"
suppress_warnings = [
    "misc.highlighting_failure",  # `hex` in docs/format.md, which no lexer knows
    "ref.python",  # a short name in an annotation that several classes have
]

# One page for each folder, made from the docstrings of its modules.
apidoc_modules = [
    {
        "path": str(ROOT / package),
        "destination": f"docs/api/{package}",
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
    for package in ("pim_jax", "codec_jax")
]
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_attr_annotations = False  # array annotations are no valid markup
# In docstrings a word in backticks is code.
default_role = "code"


# Docstrings are plain text in the sections of Google's style, not reStructuredText. A word
# in backticks and an indented block are code; other characters stand for themselves.
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields): +(.+)")
_MARKUP = re.compile(r"(`[^`]*`)|([*|\\]|_\b)")


def _escaped(line: str) -> str:
    return _MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", line)


def _prepared(lines: list[str]) -> Iterator[str]:
    before, in_code = "", False
    for line in lines:
        indented = line.startswith(" " * 4)
        if indented and not before.strip() and not in_code:
            in_code = True
            yield from ("::", "")
        in_code = in_code and (indented or not line)
        section = _SECTION.fullmatch(line)
        if section:
            yield from ("", f"{section[1]}:", f"  {_escaped(section[2])}")
        else:
            yield line if in_code else _escaped(line)
        before = line


def prepare(
    app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
) -> None:
    """Makes reStructuredText of a docstring, in place, except for its sections."""
    lines[:] = _prepared(lines)


def setup(app: Sphinx) -> None:
    """Connects `prepare` so that it precedes Napoleon, which converts the sections."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
