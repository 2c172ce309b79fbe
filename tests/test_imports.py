"""Which module may import which: read from the import statements themselves."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The floors of the house, from the ground up. A module imports from floors below its own
# and from its own folder. Files in the root of a package stand on floors of their own; the
# package itself (`import pim_jax`) stands above its parts because it imports them. Codecs
# come above metrics, so `pim_jax` imports none of them. A new file needs no entry here.
FLOORS = """
pim_jax.version pim_jax.ops pim_jax.io
pim_jax.training
pim_jax.distributions pim_jax.data pim_jax.features
pim_jax.metric
pim_jax.pim
pim_jax.metrics
pim_jax.loading
pim_jax.losses
pim_jax.evaluation
pim_jax.tasks
pim_jax.moved pim_jax.cli
pim_jax
codec_jax.version codec_jax.image_files codec_jax.ops codec_jax.objective
codec_jax.coding codec_jax.inference
codec_jax.layers codec_jax.entropy
codec_jax.blocks
codec_jax.latents
codec_jax.models
codec_jax.storage
codec_jax.trained
codec_jax.loading codec_jax.compressai codec_jax.toy
codec_jax.freezing
codec_jax.evaluation
codec_jax.tasks
codec_jax.cli_files
codec_jax.cli
codec_jax
train.py eval.py
"""

# What may be imported inside a function: a machine can do without it, or it takes long to
# load and most uses do without it.
TENSORFLOW = {"tensorflow", "tensorflow_compression", "tensorflow_compression_ops"}
OPTIONAL = TENSORFLOW | {
    "av",
    "h5py",
    "orbax.checkpoint",
    "scipy.special",
    "tensorflow_datasets",
    "pim_jax.data.bapps",
    "pim_jax.data.video",
    "imagecodecs",
    "pillow_heif",
    "tifffile",
    "codec_jax.coding.numba_engine",
}


class Import(NamedTuple):
    source: str  # module, such as pim_jax.data.video, or script
    target: str  # module
    at_top: bool


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if len(relative.parts) == 1:
        return relative.name
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [
    *sorted((ROOT / "pim_jax").rglob("*.py")),
    *sorted((ROOT / "codec_jax").rglob("*.py")),
    ROOT / "train.py",
    ROOT / "eval.py",
]
MODULES = {module_name(path): path for path in FILES}


def imports_of(path: Path) -> list[Import]:
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []

    def visit(node: ast.AST, at_top: bool) -> None:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from package import module` imports the module, if it is one of ours.
            targets = [name if name in MODULES else node.module for name in inside]
        found.extend(Import(module_name(path), name, at_top) for name in set(targets))
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, at_top and not in_function)

    visit(tree, True)
    return found


IMPORTS = [found for path in FILES for found in imports_of(path)]
OURS = {
    name: {i.target for i in IMPORTS if i.source == name and i.target in MODULES}
    for name in MODULES
}


def part(module: str) -> str:
    """The word of `FLOORS` for a module: its folder, or a file in a package's root."""
    return ".".join(module.split(".")[:2]) if not module.endswith(".py") else module


def reachable(module: str) -> set[str]:
    """All of our modules that this one imports, directly or not."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        new = OURS[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def test_every_module_stands_on_a_floor():
    assert {part(module) for module in MODULES} <= set(FLOORS.split())


def test_imports_go_down():
    floor = {
        word: number
        for number, words in enumerate(FLOORS.strip().splitlines())
        for word in words.split()
    }
    wrong = [
        f"{source} imports {target}"
        for source, targets in OURS.items()
        for target in targets
        if part(target) != part(source) and floor[part(target)] >= floor[part(source)]
    ]
    assert not wrong


def test_no_cycle():
    assert [module for module in MODULES if module in reachable(module)] == []


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("pim_jax.evaluation.scores", set()),
        ("pim_jax.distributions", set()),
        ("pim_jax.pim.objective", {"pim_jax.distributions"}),
        ("pim_jax.ops.pyramids", set()),
        ("pim_jax.features.backbones", {"pim_jax.ops.fast_cpu.convolution"}),
        ("pim_jax.features.linear_weights", set()),
        ("codec_jax.evaluation.bjontegaard", set()),
        ("codec_jax.evaluation.classical", set()),
    ],
)
def test_pure_functions_reach_nothing_else(module, allowed):
    """No model, no data, no training."""
    assert reachable(module) <= allowed


# What a package may reach outside of itself. The loop replaces its own files whole.
STAND_ALONE: dict[str, set[str]] = {
    "pim_jax.ops": set(),
    "pim_jax.io": set(),
    "pim_jax.training": {"pim_jax.io.files"},
    "codec_jax.coding": set(),
}


@pytest.mark.parametrize("package", STAND_ALONE)
def test_packages_that_stand_alone(package):
    """The loop knows no model and no data, the mathematics no files, and so on."""
    inside = {module for module in MODULES if part(module) == package}
    outside = {target for module in inside for target in reachable(module)} - inside
    assert outside <= STAND_ALONE[package]


def test_the_data_knows_neither_models_nor_the_loop():
    inside = {module for module in MODULES if part(module) == "pim_jax.data"}
    reached = {target for module in inside for target in reachable(module)} - inside
    assert {part(module) for module in reached} <= {"pim_jax.io"}


def test_metrics_do_not_import_codecs():
    """Neither module of `codec_jax` that there is, nor one that may come."""
    of_metrics = [i for i in IMPORTS if i.source.split(".")[0] == "pim_jax"]
    assert of_metrics
    assert not [i for i in of_metrics if i.target.split(".")[0] == "codec_jax"]


def test_tensorflow_is_never_imported_at_the_top():
    at_top = {i.target.split(".")[0] for i in IMPORTS if i.at_top}
    assert not at_top & TENSORFLOW


def test_only_optional_packages_are_imported_inside_functions():
    inside = [i for i in IMPORTS if not i.at_top]
    assert not [i for i in inside if i.target not in OPTIONAL]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"
)
def test_importing_all_does_not_load_tensorflow():
    modules = [module for module in MODULES if not module.endswith(".py")]
    program = f"import {', '.join(modules)}, sys; sys.exit('tensorflow' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("program", ["train", "eval"])
def test_programs_load_neither_a_video_decoder_nor_tfds(program):
    """Images of accelerators' makers have JAX and little else."""
    unwanted = "{'av', 'tensorflow_datasets'} & {*sys.modules}"
    program = f"import {program}, sys; sys.exit(bool({unwanted}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
