"""Bounds of the unpickler, and which errors are those of a file."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_written

from pim_jax.io import numpy_pickles, pickles, torch_files

MEBIBYTE = 2**20
DEEP_TUPLE = b")" + b"\x85" * 200_000  # () inside tuples of one
HOSTILE = {
    "index of the memo": b"\x80\x02]r\x00\x00\x00\x40.",
    "largest index of the memo": b"\x80\x02}r\xff\xff\xff\xff}s.",
    "index in text": b"]p1000000000000\n.",
    "bytes": b"\x80\x03B\xff\xff\xff\x7f.",
    "many bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "bytes that can change": b"\x80\x05\x96" + struct.pack("<Q", 2**31) + b".",
    "text": b"\x80\x02X\xff\xff\xff\x7f.",
    "much text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b".",
    "number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "number in text": b"L" + b"9" * 10_000 + b"L\n.",
    "key": b"\x80\x02}" + DEEP_TUPLE + b"Ns.",
    "keys": b"\x80\x02}(" + DEEP_TUPLE + b"Nu.",
    "keys of the older instruction": b"(" + DEEP_TUPLE + b"Nd.",
    "key in an argument": (
        b"\x80\x02ccollections\nOrderedDict\n]](" + DEEP_TUPLE + b"Nea\x85R."
    ),
    "set": b"\x80\x04\x8f(" + DEEP_TUPLE + b"\x90.",
    "frozen set": b"\x80\x04(" + DEEP_TUPLE + b"\x91.",
    "marks": b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "extension": b"\x80\x02\x82\x01.",
    "buffer": b"\x80\x05\x97.",
    "class": b"\x80\x02cbuiltins\nobject\n)\x81.",
    "call of a value": b"\x80\x02})R.",
    "state of a number": b"\x80\x02K\x01}b.",
    "state of an array": b"\x80\x02cnumpy\nndarray\n}b.",
}  # fmt: skip


def stream_of(program: bytes) -> bytes:
    header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in header) + program


def archive_of(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    return file.getvalue()


READERS = {
    "zip": (torch_files.read_state_dict, archive_of),
    "stream": (torch_files.read_state_dict, stream_of),
    "numpy": (numpy_pickles.read, lambda program: program),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("program", HOSTILE)
def test_hostile_programs_take_no_memory(program, reader, tmp_path):
    """At most 300 bytes for each of the file, whatever lengths stand in it."""
    read, contained = READERS[reader]
    path = tmp_path / "hostile"
    path.write_bytes(contained(HOSTILE[program]))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="hostile"):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MEBIBYTE + 300 * path.stat().st_size


def test_dictionaries_that_would_take_for_ever_to_walk_through(tmp_path):
    """Each of 60 holds the one before twice; or one holds itself."""
    path = tmp_path / "weights.ckpt"
    value: dict = {"a": np.zeros(1)}
    for _ in range(60):
        value = {"a": value, "b": value}
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(ValueError, match="it holds dict"):
        numpy_pickles.read(path)
    value = {}
    value["a"] = value
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(ValueError, match="it holds dict"):
        numpy_pickles.read(path)
    deep: dict = {}
    for _ in range(200):
        deep = {"a": deep}
    path.write_bytes(pickle.dumps(deep, 4))
    with pytest.raises(ValueError, match="it holds dict"):
        numpy_pickles.read(path)


def test_an_array_may_stand_in_two_places(tmp_path):
    path, array = tmp_path / "weights.ckpt", np.arange(3)
    path.write_bytes(pickle.dumps({"a": array, "b": {"c": array}}, 4))
    found = numpy_pickles.read(path)
    assert found["a"] is found["b"]["c"]
    np.testing.assert_array_equal(found["a"], array)


def test_an_archive_that_lists_the_same_bytes_many_times(tmp_path):
    """Its storages together are no larger than the file."""
    path = tmp_path / "state.pth"
    count = 1000
    state = {str(key): np.zeros(count, np.float32) for key in range(20)}
    torch_written.write_zip(path, state)
    assert len(torch_files.read_state_dict(path)) == 20
    with zipfile.ZipFile(path) as archive:
        program = archive.read("archive/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(4 * count))
        (first,) = [i for i in archive.infolist() if i.filename.endswith("/0")]
        for key in range(1, 20):
            again = zipfile.ZipInfo(f"archive/data/{key}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(again, name, getattr(first, name))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    with pytest.raises(ValueError, match="not a readable file"):
        torch_files.read_state_dict(path)


@pytest.mark.parametrize("fault", [TypeError, KeyError, IndexError, RuntimeError])
def test_errors_of_our_own_are_not_those_of_the_file(fault, tmp_path, monkeypatch):
    def wrong(*_):
        raise fault("our own")

    path = tmp_path / "state.pth"
    state = {"x": np.zeros(3, np.float32)}
    for write in (torch_written.write_zip, torch_written.write_stream):
        write(path, state)
        for module, name in (
            (torch_files, "_storage"),
            (pickles, "set_items"),
            (pickles, "shape_of"),
            (np.lib.stride_tricks, "as_strided"),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(module, name, wrong)
                with pytest.raises(fault, match="our own"):
                    torch_files.read_state_dict(path)
    path.write_bytes(pickle.dumps(state, 4))
    for module, name in (
        (numpy_pickles, "_with_arrays"),
        (numpy_pickles._Dtype, "set_state"),
        (numpy_pickles._Array, "set_state"),
        (pickles, "shape_of"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, wrong)
            with pytest.raises(fault, match="our own"):
                numpy_pickles.read(path)
