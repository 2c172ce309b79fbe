"""Modules under the names that they had in one flat folder, for one release.

`import pim_jax.backbones` gives `pim_jax.features.backbones` with a DeprecationWarning,
and so on for each name in `MOVED`. Nothing is loaded before it is asked for.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

# fmt: off
MOVED = {
    "codec_jax.classical": "codec_jax.evaluation.classical",
    "codec_jax.complexity": "codec_jax.evaluation.complexity",
    "codec_jax.convert": "codec_jax.compressai",
    "codec_jax.curves": "codec_jax.evaluation.curves",
    "codec_jax.data": "pim_jax.data.image_crops",
    "codec_jax.entropy.scales": "codec_jax.entropy.gaussian_conditional",
    "codec_jax.evaluate": "codec_jax.evaluation.bjontegaard",
    "codec_jax.evaluations": "codec_jax.evaluation.runners",
    "codec_jax.heads_task": "codec_jax.tasks.linear_weights",
    "codec_jax.models.integer": "codec_jax.latents.integer",
    "codec_jax.measurements": "codec_jax.evaluation.measurements",
    "codec_jax.photograph": "codec_jax.evaluation.photograph",
    "codec_jax.programs": "codec_jax.inference.programs",
    "codec_jax.target_rate": "codec_jax.inference.target_rate",
    "codec_jax.task": "codec_jax.tasks.codec",
    "codec_jax.tiling": "codec_jax.inference.tiling",
    "codec_jax.weights": "codec_jax.loading",
    "pim_jax.backbones": "pim_jax.features.backbones",
    "pim_jax.behaviour": "pim_jax.evaluation.behaviour",
    "pim_jax.bound": "pim_jax.evaluation.held_out",
    "pim_jax.colour_discrimination": "pim_jax.evaluation.colour",
    "pim_jax.colour_pictures": "pim_jax.evaluation.pictures",
    "pim_jax.compiled": "pim_jax.io.compilation_cache",
    "pim_jax.convert": "pim_jax.pim.published",
    "pim_jax.data.judgements": "pim_jax.data.bapps",
    "pim_jax.distances": "pim_jax.evaluation.distances",
    "pim_jax.downloads": "pim_jax.io.downloads",
    "pim_jax.evaluate": "pim_jax.evaluation.scores",
    "pim_jax.evaluations": "pim_jax.evaluation.runners",
    "pim_jax.grids": "pim_jax.evaluation.grids",
    "pim_jax.heads": "pim_jax.features.linear_weights",
    "pim_jax.heads_task": "pim_jax.tasks.linear_weights",
    "pim_jax.initialization": "pim_jax.pim.initialization",
    "pim_jax.kept": "pim_jax.evaluation.kept",
    "pim_jax.memory": "pim_jax.ops.memory",
    "pim_jax.metrics.about": "pim_jax.metrics",
    "pim_jax.metrics.given": "pim_jax.io.checks",
    "pim_jax.model": "pim_jax.pim.model",
    "pim_jax.named": "pim_jax.evaluation.named",
    "pim_jax.numpy_pickles": "pim_jax.io.numpy_pickles",
    "pim_jax.objective": "pim_jax.pim.objective",
    "pim_jax.ops.banded": "pim_jax.ops.fast_cpu.banded",
    "pim_jax.ops.convolution": "pim_jax.ops.fast_cpu.convolution",
    "pim_jax.ops.one_by_one": "pim_jax.ops.fast_cpu.one_by_one",
    "pim_jax.ops.roots": "pim_jax.ops.safe_math",
    "pim_jax.ops.similarity": "pim_jax.ops.safe_math",
    "pim_jax.outputs": "pim_jax.evaluation.outputs",
    "pim_jax.pictures": "pim_jax.pim.pictures",
    "pim_jax.pretrained": "pim_jax.features.torchvision",
    "pim_jax.printed": "pim_jax.evaluation.printed",
    "pim_jax.published": "pim_jax.pim.published",
    "pim_jax.ranking": "pim_jax.evaluation.ranking",
    "pim_jax.ranking_pictures": "pim_jax.evaluation.pictures",
    "pim_jax.realism": "pim_jax.evaluation.realism",
    "pim_jax.realism_pictures": "pim_jax.evaluation.pictures",
    "pim_jax.realism_tables": "pim_jax.evaluation.realism_checks",
    "pim_jax.recovery": "pim_jax.evaluation.recovery",
    "pim_jax.recovery_pictures": "pim_jax.evaluation.pictures",
    "pim_jax.scoring": "pim_jax.evaluation.judgements",
    "pim_jax.shipped": "pim_jax.pim.packaged",
    "pim_jax.styles": "pim_jax.evaluation.pictures",
    "pim_jax.tables": "pim_jax.evaluation.tables",
    "pim_jax.task": "pim_jax.tasks.pim",
    "pim_jax.tensor_bundle": "pim_jax.io.tensor_bundle",
    "pim_jax.terminal": "pim_jax.io.terminal",
    "pim_jax.torch_files": "pim_jax.io.torch_files",
    "pim_jax.weight_files": "pim_jax.pim.checkpoints",
    "pim_jax.weights": "pim_jax.loading",
}
# fmt: on


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of `MOVED` under its old name: the very module of the new one."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        # The import system replaces the specification of what is returned here.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        specification = module.__spec__
        assert specification is not None
        module.__spec__ = specification.loader_state


def also(module: str, source: str, *names: str) -> None:
    """Makes names that moved out of `module`, which stays, importable from it too."""
    found = importlib.import_module(source)
    vars(importlib.import_module(module)).update((n, getattr(found, n)) for n in names)


def install() -> None:
    """Makes the modules importable; calling it twice changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
