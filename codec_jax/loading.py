"""From a name or a file to a trained codec.

A file `.npz` holds `about` (JSON: name, architecture, how it was trained) and the arrays
of `TrainedCodec.arrays`: weights in 16 bits, the integer hyper-synthesis and the tables.
Tables and integers are made once, by `freeze`; whoever loads a file takes them as they
are.
"""

import dataclasses
import difflib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import flax.traverse_util
import numpy as np

from codec_jax import storage
from codec_jax.coding.tables import Tables
from codec_jax.latents import integer
from codec_jax.models import architectures
from codec_jax.models.architectures import Architecture
from codec_jax.models.codec import parameter_shapes
from codec_jax.trained import TrainedCodec
from pim_jax.io import files

FORMAT = 1
# Of versions of `.npy`: bytes of the length of its header, and who reads that.
_HEADERS: dict[tuple[int, int], tuple[int, Any]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
FROZEN = "codec.npz"  # in the folder of a run


# Weights inside this package, in `codec_jax/packaged`; beside each its SHA-256 in a file
# `.sha256`, as `sha256sum` writes it, and its card `.md`.
PACKAGED = {"qt256": "qt256.npz", "ms128": "ms128.npz", "ms64": "ms64.npz"}
DEFAULT = "qt256"


# What NumPy, zipfile and zlib raise on damaged or hostile files.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


# Bytes of all arrays of a file together: many times those of any published architecture.
LARGEST_ARRAYS = 2**27


class UnknownCodecError(ValueError, FileNotFoundError):
    """Neither the name of a packaged codec nor an existing file."""


def load(name_or_path: str | Path) -> TrainedCodec:
    """A trained codec.

    Args:
      name_or_path: a name in PACKAGED, a file written by `save`, or the folder of a run
        in which `codec-jax freeze` has written one.

    Raises:
      UnknownCodecError (a ValueError and a FileNotFoundError): there is no such thing.
      FileNotFoundError: a folder without such a file.
      ValueError: the file is damaged or of another format.
    """
    if isinstance(name_or_path, str) and name_or_path in PACKAGED:
        return _packaged(PACKAGED[name_or_path])
    path = Path(name_or_path)
    if not path.exists():
        raise UnknownCodecError(_unknown(str(name_or_path)))
    if path.is_dir():
        if not (path / FROZEN).is_file():
            raise FileNotFoundError(
                f"{path} has no {FROZEN}; make it with `codec-jax freeze {path} --name "
                "NAME`, where NAME is what files are to call the codec"
            )
        path = path / FROZEN
    return parse(path.read_bytes(), str(path))


def save(codec: TrainedCodec, path: str | Path, about: Mapping[str, Any]) -> None:
    """Writes weights and tables, whole or not at all.

    Args:
      codec: what to write.
      path: a file `.npz`; replaced if it exists.
      about: anything that JSON can hold, kept beside the weights.
    """
    head = {
        "format": FORMAT,
        "name": codec.name,
        "config": codec.config.to_dict(),
        "about": dict(about),
    }
    # The same codec gives the same bytes, which numpy.savez's dates would not.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "head", np.frombuffer(json.dumps(head).encode(), np.uint8))
        for name, array in codec.arrays().items():
            _add(archive, name, array)
    files.replace_file(path, buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, buffer.getvalue())


def about(path: str | Path) -> dict[str, Any]:
    """How the codec in a file was trained."""
    return _read(Path(path).read_bytes(), str(path))[0]["about"]


def parse(data: bytes, source: str, known: bool = False) -> TrainedCodec:
    """The codec in the bytes of a file; errors name `source`.

    Args:
      data: of a file that `save` has written, or any.
      source: where they are from.
      known: that they are those of a packaged file. Then they are not compared with the
        architecture, for which its networks would be traced: most of the time of loading.
    """
    head, arrays = _read(data, source)
    try:
        codec = _assembled(head, arrays)
        if not known:
            _check_parts(codec)
    except ValueError as error:
        raise ValueError(f"{source} is damaged: {error}") from error
    return codec


def _read(data: bytes, source: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        _check_sizes(data)
    except _DAMAGE as error:
        raise ValueError(f"{source} is no file of codec weights: {error}") from error
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as opened:
            arrays = dict(opened)
        head = json.loads(arrays.pop("head").tobytes())
    except _DAMAGE as error:
        raise ValueError(f"{source} is no file of codec weights") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{source} has another format than {FORMAT}")
    return head, arrays


def _check_sizes(data: bytes) -> None:
    """Before anything is read: a small file may unpack to gigabytes.

    Raises:
      ValueError, or another of _DAMAGE: the arrays are too large, or have other sizes
        than the directory of the file says.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
        if total > LARGEST_ARRAYS:
            raise ValueError(
                f"its arrays have {total} bytes, expected {LARGEST_ARRAYS} at most"
            )
        for entry in archive.infolist():
            with archive.open(entry) as file:
                size = _size_of_array(file)
            if size != entry.file_size:
                raise ValueError(
                    f"{entry.filename} has {entry.file_size} bytes, its array {size}"
                )


def _size_of_array(file: IO[bytes] | zipfile.ZipExtFile) -> int:
    """Bytes of a file `.npy` by what it begins with."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"expected an array of version 1 or 2, found {version}")
    length_of_length, read = _HEADERS[version]
    length = file.read(length_of_length)
    header = file.read(int.from_bytes(length, "little"))
    shape, _, dtype = read(io.BytesIO(length + header))
    before = np.lib.format.MAGIC_LEN + len(length) + len(header)
    return before + math.prod(shape) * dtype.itemsize


def _assembled(head: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> TrainedCodec:
    parts = _by_kind(arrays)
    return TrainedCodec(
        name=head.get("name"),  # type: ignore[arg-type]  # checked there
        config=_config(head),
        params=storage.params_of(parts),
        layers=integer.read(parts["layers"]),
        tables=_tables("tables", parts["tables"]),
        scale_tables=_tables("scales", parts["scales"]) if parts["scales"] else None,
    )


def _config(head: Mapping[str, Any]) -> Architecture:
    """The architecture; ValueError for whatever else JSON may hold in its place."""
    found = head.get("config")
    if not isinstance(found, dict):
        raise ValueError("it names no architecture")
    try:
        return architectures.from_dict(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no such architecture: {error}") from error


def _tables(kind: str, arrays: Mapping[str, np.ndarray]) -> Tables:
    names = sorted(field.name for field in dataclasses.fields(Tables))
    if sorted(arrays) != names:
        raise ValueError(f"{kind}: expected {names}, found {sorted(arrays)}")
    return Tables(**arrays)


def _by_kind(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by the first part of their name, then by the rest of it."""
    kinds = ("params", "bytes", "steps", "layers", "tables", "scales")
    found: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in kinds}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        if kind not in found:
            raise ValueError(f"unknown array {name!r}")
        found[kind][rest] = array
    return found


def _check_parts(codec: TrainedCodec) -> None:
    """That weights, layers and tables are those of the architecture."""
    frozen = codec.latent_codec.integer_networks
    expected = {
        name: shape
        for name, shape in parameter_shapes(codec.networks).items()
        if name.split("/")[0] not in frozen
    }
    flat = flax.traverse_util.flatten_dict(codec.params, sep="/")
    _same("weights", {name: array.shape for name, array in flat.items()}, expected)
    for name, array in flat.items():
        if not np.isfinite(array).all():
            raise ValueError(f"params/{name} has values that are not finite")
    codec.latent_codec.check(codec.frozen.integers)


def _same(what: str, found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        names = found.keys() | expected.keys()
        wrong = sorted(n for n in names if found.get(n) != expected.get(n))[:1]
        what = f"params/{wrong[0]}" if wrong else what
        found, expected = (
            [shapes.get(name) for name in wrong] for shapes in (found, expected)
        )
    if found != expected:
        raise ValueError(f"{what}: expected the shapes {expected}, found {found}")


def _packaged(file: str) -> TrainedCodec:
    data = files.read_verified(files.packaged("codec_jax", "packaged", file))
    return parse(data, file, known=True)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, PACKAGED, n=1)
    return (
        f"{name!r} is neither a codec nor a file"
        + (f"; did you mean {close[0]!r}?" if close else ";")
        + f" Known codecs: {', '.join(PACKAGED)}"
    )
