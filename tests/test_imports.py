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

# A module may import modules of lines above its own, and of its own package. The package
# itself (`import pim_jax`) stands near the bottom because it imports most of the others.
# Codecs come below, so `pim_jax` imports none of them.
PICTURE = """
version memory io grids printed styles ops evaluate tensor_bundle terminal training
data
tables
outputs
downloads torch_files numpy_pickles heads
distributions backbones
pretrained compiled
objective model realism
initialization
metric convert pictures
kept
published distances weight_files
shipped
metrics behaviour scoring
weights bound recovery ranking colour_discrimination realism_tables
named recovery_pictures ranking_pictures colour_pictures realism_pictures
task evaluations cli heads_task
pim_jax
codec_jax.coding codec_jax.ops codec_jax.objective codec_jax.data codec_jax.tiling
codec_jax.evaluate codec_jax.classical codec_jax.image_files
codec_jax.cli_files
codec_jax.layers codec_jax.entropy codec_jax.curves codec_jax.measurements
codec_jax.models
codec_jax.programs codec_jax.target_rate
codec_jax.complexity codec_jax.convert codec_jax.trained codec_jax.toy
codec_jax.quadtree_codec
codec_jax.weights
codec_jax.task
codec_jax.photograph codec_jax.heads_task
codec_jax.evaluations codec_jax.cli
codec_jax
train.py eval.py
"""
PACKAGES = {
    *("io", "ops", "data", "training", "metrics"),
    *("codec_jax.coding", "codec_jax.entropy", "codec_jax.models", "codec_jax.toy"),
}
# Of these, packages that are built on others.
DEPENDENT = {
    "data",
    "metrics",
    "codec_jax.entropy",
    "codec_jax.models",
    "codec_jax.toy",
}

# What may be imported inside a function: a machine can do without it, or it takes long to
# load and most uses do without it.
TENSORFLOW = {"tensorflow", "tensorflow_compression", "tensorflow_compression_ops"}
OPTIONAL = TENSORFLOW | {
    "av",
    "h5py",
    "orbax.checkpoint",
    "scipy.special",
    "tensorflow_datasets",
    "pim_jax.data.judgements",
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
    """The word of the picture that stands for a module."""
    if module.endswith(".py") or "." not in module:
        return module
    package, word = module.split(".")[:2]
    # Both packages have a `task`, an `objective` and more.
    return word if package == "pim_jax" else f"{package}.{word}"


def reachable(module: str) -> set[str]:
    """All of our modules that this one imports, directly or not."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        new = OURS[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def test_the_picture_shows_every_module():
    assert sorted(PICTURE.split()) == sorted({part(module) for module in MODULES})


def test_imports_go_up_in_the_picture():
    line = {
        word: number
        for number, words in enumerate(PICTURE.strip().splitlines())
        for word in words.split()
    }
    wrong = [
        f"{source} imports {target}"
        for source, targets in OURS.items()
        for target in targets
        if not line[part(target)] < line[part(source)]
        and not (part(target) == part(source) in PACKAGES)
    ]
    assert not wrong


def test_no_cycle():
    assert [module for module in MODULES if module in reachable(module)] == []


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("pim_jax.evaluate", set()),
        ("pim_jax.distributions", set()),
        ("pim_jax.objective", {"pim_jax.distributions"}),
        ("pim_jax.ops.pyramids", set()),
        ("pim_jax.backbones", {"pim_jax.ops.convolution"}),
        ("pim_jax.heads", set()),
        ("codec_jax.evaluate", set()),
        ("codec_jax.classical", set()),
    ],
)
def test_pure_functions_reach_nothing_else(module, allowed):
    """No model, no data, no training."""
    assert reachable(module) <= allowed


@pytest.mark.parametrize("package", sorted(PACKAGES - DEPENDENT))
def test_packages_that_stand_alone(package):
    """The loop knows no model and no data, the mathematics no files, and so on."""
    inside = {module for module in MODULES if part(module) == package}
    outside = {target for module in inside for target in reachable(module)} - inside
    assert not outside


def test_the_data_knows_neither_models_nor_the_loop():
    inside = {module for module in MODULES if part(module) == "data"}
    reached = {target for module in inside for target in reachable(module)} - inside
    assert {part(module) for module in reached} <= {"io"}


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
