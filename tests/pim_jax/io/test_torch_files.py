"""Files of PyTorch: both formats, and that nothing in them is ever run."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_written

from pim_jax.io import torch_files

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
WRITERS = {"zip": torch_written.write_zip, "stream": torch_written.write_stream}
STATE = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.int64(7),
    "half": np.array([0.5], np.float16),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_pytorch_wrote(kind):
    found = torch_files.read(GOLDEN / f"torch_{kind}.pt")
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(found["transposed"], base.transpose(2, 0, 1))
    np.testing.assert_array_equal(found["row"], base[1, 2])
    np.testing.assert_array_equal(found["parameter"], base[:1] / np.float32(7))
    np.testing.assert_array_equal(found["half"], np.array([0.5, -2], np.float16))
    assert (found["count"].shape, int(found["count"])) == ((), 2**40)
    assert found["flags"].tolist() == [True, False]
    assert found["empty"].shape == (0, 3)
    assert found["epoch"] == 3
    assert found["names"] == ["a", ("b", 2.5, None, True)]
    assert len(found) == 9


@pytest.mark.shared
def test_published_files(shared):
    """Written by PyTorch 0.4 under Python 2 and 3."""
    folder = shared / "data" / "lpips"
    heads = torch_files.read_state_dict(folder / "v0.1" / "vgg.pth")
    assert heads["lin0.model.1.weight"].shape == (1, 64, 1, 1)
    dists = torch_files.read_state_dict(folder / "dists_weights.pt")
    assert {k: v.shape for k, v in dists.items()} == dict.fromkeys(
        ("alpha", "beta"), (1, 1475, 1, 1)
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_round_trip_and_damage(kind, tmp_path):
    """Cut off anywhere or with a changed byte: ValueError, or arrays."""
    path = tmp_path / "state.pth"
    WRITERS[kind](path, STATE)
    found = torch_files.read_state_dict(path)
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    data = path.read_bytes()
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a readable file"):
            torch_files.read(path)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(random.integers(1, 4)):
            changed[random.integers(len(data))] = random.integers(256)
        path.write_bytes(changed)
        try:
            torch_files.read(path)
        except ValueError:
            refused += 1
    assert refused > 500


class Evil:
    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(kind, protocol, tmp_path):
    marker = tmp_path / "was run"
    for evil in (
        Evil(os.mkdir, str(marker)),
        Evil(eval, f"__import__('os').mkdir({str(marker)!r})"),
        {"state_dict": [Evil(os.mkdir, str(marker))]},
    ):
        WRITERS[kind](tmp_path / "evil.pth", {}, pickle.dumps(evil, protocol))
        with pytest.raises(ValueError, match="not a readable file"):
            torch_files.read(tmp_path / "evil.pth")
    assert not marker.exists()


def tensor_of(shape, strides, offset=0, count=6):
    storages = []
    good = torch_written.program({"x": np.zeros(6, np.float32)}, storages, False)
    value = torch_written._value
    old = b"".join(value(v, [], False) for v in (0, (6,), (1,)))
    new = b"".join(value(v, [], False) for v in (offset, shape, strides))
    assert good.count(old) == 1
    return good.replace(old, new)


@pytest.mark.parametrize(
    "changed",
    [
        tensor_of((7,), (1,)),
        tensor_of((3, 3), (3, 1)),
        tensor_of((1,), (1,), offset=6),
        tensor_of((1,), (1,), offset=-1),
        tensor_of((2,), (-1,), offset=1),
        tensor_of((10**9, 10**9), (0, 0)),
        tensor_of((2**62, 2**62, 2**62), (0, 0, 0)),
        tensor_of((2,), (1, 1)),
        b"\x80\x02\x8b\xff\xff\xff\x7f",  # a number of two gigabytes
        b"\x80\x04\x96" + b"\xff" * 6 + b"\x00\x00.",  # a huge byte array
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02}r\xff\xff\xff\xff}s.",
        b"\x80\x02}]}s.",  # a list as a key
        b"cposix\nsystem\n.",
    ],
)
def test_hostile_programs(changed, tmp_path):
    path = tmp_path / "hostile.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", changed)
        archive.writestr("archive/data/0", bytes(24))
    with pytest.raises(ValueError, match="hostile"):
        torch_files.read_state_dict(path)


def test_other_containers(tmp_path):
    path = tmp_path / "file.pth"
    with pytest.raises(FileNotFoundError, match="file"):
        torch_files.read(path)
    for content in (b"", b"PK\x03\x04 nothing", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a readable file"):
            torch_files.read(path)
    torch_written.write_zip(path, STATE)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def rewrite(changes, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in (parts | changes).items():
                archive.writestr(name, content)

    for changes, text in (
        ({"archive/byteorder": b"big"}, "little-endian"),
        ({"archive/data/0": bytes(8)}, "storage 0 has 8 bytes"),
        ({"other/data.pkl": b"N."}, "has no data.pkl"),
    ):
        rewrite(changes)
        with pytest.raises(ValueError, match=text):
            torch_files.read(path)
    rewrite({}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        torch_files.read(path)
    torch_written.write_zip(path, {"state_dict": STATE})
    with pytest.raises(ValueError, match="expected a state_dict"):
        torch_files.read_state_dict(path)
