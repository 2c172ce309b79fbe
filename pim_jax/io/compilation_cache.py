"""Compiled programs that are kept on disk from one start of a command to the next.

By JAX's own cache, in `compiled` inside the cache folder (`PIM_JAX_CACHE`, by default
`~/.cache/pim_jax`). Only the commands turn it on; whoever imports the packages chooses
for himself. JAX_COMPILATION_CACHE_DIR names another folder, and
JAX_ENABLE_COMPILATION_CACHE=0 turns it off.
"""

import os
import platform
import warnings
from pathlib import Path

import jax

from pim_jax.io import files
from pim_jax.io.downloads import cache_folder

# Bytes; the programs of a picture's size take about one million.
LARGEST = 2**28


def keep() -> None:
    """From here on programs are read from disk where they have been compiled before.

    A folder that cannot be made, written or trusted is done without.
    """
    config = jax.config
    chosen = getattr(config, "jax_compilation_cache_dir", None)
    if chosen or not getattr(config, "jax_enable_compilation_cache", True):
        return
    try:
        folder = cache_folder() / "compiled" / _machine()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What lies there will be executed.
        own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        if not own or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return
        bound(folder, LARGEST)
    except OSError:
        return
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Of a damaged entry, or a full disk: the program is compiled as it would be without.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")


def bound(folder: Path, largest: int) -> None:
    """Deletes what was used longest ago until at most `largest` bytes are left.

    JAX can do so itself, but at each write, and with a package more.
    """
    files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    left = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda f: max(f[1].st_atime, f[1].st_mtime)):
        if left <= largest:
            return
        path.unlink(missing_ok=True)
        left -= stat.st_size


def _machine() -> str:
    """Tells processors apart: a program is compiled for what one of them can do."""
    known = [platform.machine(), platform.processor(), jax.__version__]
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        parts = ("model name", "flags", "Features")
        known += [line for line in lines if line.startswith(parts)]
    except OSError:
        pass
    return files.sha256("\n".join(known).encode())[:16]
