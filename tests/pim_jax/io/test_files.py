"""Checksums, and files that are replaced whole."""

import hashlib
import os

import pytest

from pim_jax.io import files


def test_digests(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"some" * 1000)
    expected = hashlib.sha256(b"some" * 1000).hexdigest()
    assert files.digest(path) == files.sha256(path.read_bytes()) == expected
    assert files.digest(path, "sha512") == hashlib.sha512(b"some" * 1000).hexdigest()


def test_a_file_with_its_checksum(tmp_path):
    path, checksum = tmp_path / "weights.npz", tmp_path / "weights.sha256"
    with pytest.raises(FileNotFoundError, match=r"weights\.npz"):
        files.read_verified(path)
    path.write_bytes(b"content")
    with pytest.raises(FileNotFoundError, match=r"weights\.sha256"):
        files.read_verified(path)
    checksum.write_text(f"{files.sha256(b'content')}  weights.npz\n")
    assert files.read_verified(path) == b"content"
    for wrong in (b"other", b""):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"weights\.npz: SHA-256 is .*, expected"):
            files.read_verified(path)
    checksum.write_text("")
    with pytest.raises(ValueError, match="SHA-256"):
        files.read_verified(path)


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "a"
    files.replace_file(path, b"old")
    files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        files.replace_file(tmp_path / "absent" / "a", b"")
    with pytest.raises(ValueError, match="expected a file, found a folder"):
        files.replace_file(tmp_path, b"")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        files.replace_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "made" / "a"
    with files.whole_folder(folder) as fresh:
        (fresh / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    assert folder.stat().st_mode == tmp_path.joinpath("made").stat().st_mode
    with pytest.raises(OSError, match="not empty"), files.whole_folder(folder) as fresh:
        (fresh / "file").write_text("other")
    assert (folder / "file").read_text() == "content"

    def interrupted():
        with files.whole_folder(tmp_path / "b") as fresh:
            (fresh / "file").write_text("part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["made"]
    assert os.listdir(tmp_path / "made") == ["a"]


def test_packaged_files():
    assert files.packaged("pim_jax.data", "macadam.csv").is_file()
    assert files.packaged("codec_jax", "packaged").is_dir()
