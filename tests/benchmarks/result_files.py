"""The JSON files of benchmarks: what was timed, and tables as `eval.py` writes them.

With the tables a file can be copied to docs/results/ (docs/make_results.py).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pim_jax.evaluation.outputs import provenance
from pim_jax.evaluation.tables import Score, Table, as_json


def score(timing: Mapping[str, Any]) -> Score:
    """The median of a `timing.Timing` as a dictionary; the interval is its quartiles."""
    return Score(timing["median"], timing["lower"], timing["upper"])


def with_tables(result: Mapping[str, Any], *tables: Table) -> dict[str, Any]:
    """What a file holds: command, version, the result, tables."""
    return {
        **provenance(),
        **result,
        "tables": [as_json(table) for table in tables],
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
