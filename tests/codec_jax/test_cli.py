"""The command `codec-jax`: files and streams, everything that travels with a picture."""

import dataclasses
import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import image_matrix
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from codec_jax import cli, image_files, weights
from codec_jax.coding import bitstream
from pim_jax.training import run_config
from tests.codec_jax import small_codecs

ROOT = Path(__file__).resolve().parents[2]
SIZE = 45, 83


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A codec, another, a picture, and the picture's file."""
    folder = tmp_path_factory.mktemp("cli")
    for name, kind in (("codec", "factorized"), ("other", "bmshj2018-factorized")):
        weights.save(small_codecs.codec(kind), folder / f"{name}.npz", {})
    pixels = small_codecs.picture(np.random.default_rng(0), *SIZE)
    PIL.Image.fromarray(pixels).save(folder / "photo.png")
    data = small_codecs.codec("factorized").compress(pixels)
    (folder / "photo.cjx").write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def run(capfd):
    """(status, bytes of standard output, text of standard error)."""

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


def assert_one_line_error(result, *parts):
    status, out, error = result
    assert (status, out) == (2, "")
    assert error.startswith("codec-jax: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    for part in parts:
        assert part in error


def test_there_and_back(run, tmp_path):
    pixels, codec = image_files.read("photo.png").pixels, weights.load("codec.npz")
    out, back = tmp_path / "photo.cjx", tmp_path / "photo.tiff"
    status, shown, error = run("compress", "photo.png", out, "--codec=codec.npz")
    data = codec.compress(pixels)
    assert (status, shown) == (0, "")
    bpp = 8 * len(data) / pixels[..., 0].size
    assert error == f"83 x 45, {len(data)} bytes, {bpp:.4f} bits per pixel\n"
    assert out.read_bytes() == data
    assert run("decompress", out, back, "--codec=codec.npz") == (0, "", "")
    found = image_files.read(back)
    np.testing.assert_array_equal(found.pixels, codec.decompress(data))
    assert not found.grey


@pytest.mark.parametrize(
    ("option", "value"), [("rate", 0.5), ("target_bpp", 1.0), ("target_psnr", 9.0)]
)
def test_rates_and_targets(run, tmp_path, option, value):
    out = tmp_path / "a.cjx"
    flag = f"--{option.replace('_', '-')}={value}"
    assert run("compress", "photo.png", out, "--codec=codec.npz", flag)[0] == 0
    codec, pixels = weights.load("codec.npz"), image_files.read("photo.png").pixels
    assert out.read_bytes() == codec.compress(pixels, **{option: value})


@functools.cache  # It has the time in it.
def profile():
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def grey_with_alpha(rng):
    shades = rng.integers(0, 256, SIZE, np.uint8)
    return image_files.Picture(
        pixels=np.repeat(shades[:, :, None], 3, 2),
        alpha=rng.integers(0, 256, SIZE, np.uint8),
        grey=True,
        icc=image_matrix.grey_profile(),
    )


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_what_travels_with_a_picture(run, tmp_path, suffix):
    """Alpha, profile, EXIF with its orientation applied, and that it is grey."""
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    colours = small_codecs.picture(np.random.default_rng(1), *SIZE)
    turned = PIL.Image.fromarray(colours)
    turned.putalpha(PIL.Image.fromarray(colours[:, :, 0]))
    turned.save(tmp_path / "turned.png", exif=exif, icc_profile=profile())
    image_files.write(grey_with_alpha(np.random.default_rng(2)), tmp_path / "grey.png")
    for name in ("turned", "grey"):
        source = image_files.read(tmp_path / f"{name}.png")
        packed, out = tmp_path / f"{name}.cjx", tmp_path / f"{name}-out{suffix}"
        assert (
            run("compress", tmp_path / f"{name}.png", packed, "--codec=codec.npz")[0]
            == 0
        )
        assert run("decompress", packed, out, "--codec=codec.npz") == (0, "", "")
        found = image_files.read(out)
        assert found.pixels.shape == source.pixels.shape
        np.testing.assert_array_equal(found.alpha, source.alpha)
        own = image_matrix.grey_profile() if source.grey else profile()
        assert source.icc == own
        # WebP has no grey pictures, and so no profile of grey.
        assert found.icc == (None if source.grey and suffix == ".webp" else own)
        assert found.grey == (source.grey and suffix != ".webp")
        with PIL.Image.open(out) as opened:
            tags = opened.getexif()
        assert tags.get(0x0112, 1) == 1
        assert tags.get(0x010F) == ("maker" if name == "turned" else None)
    assert image_files.read(tmp_path / f"turned-out{suffix}").pixels.shape[:2] == (
        83,
        45,
    )


class Streams:
    """Standard input and output of bytes."""

    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)


def through(monkeypatch, data, *arguments):
    source, target = Streams(data), Streams()
    monkeypatch.setattr(sys, "stdin", source)
    monkeypatch.setattr(sys, "stdout", target)
    assert cli.main(arguments) == 0
    return target.buffer.getvalue()


def test_streams(monkeypatch, folder):
    picture = (folder / "photo.png").read_bytes()
    data = through(monkeypatch, picture, "compress", "-", "-", "--codec=codec.npz")
    assert data == (folder / "photo.cjx").read_bytes()
    image = through(monkeypatch, data, "decompress", "-", "-", "--codec=codec.npz")
    expected = weights.load("codec.npz").decompress(data)
    np.testing.assert_array_equal(image_files.read(io.BytesIO(image)).pixels, expected)
    arguments = ("decompress", "photo.cjx", "-", "--codec=codec.npz", "--format=webp")
    image = through(monkeypatch, b"", *arguments)
    assert image[8:12] == b"WEBP"
    np.testing.assert_array_equal(image_files.read(io.BytesIO(image)).pixels, expected)


def test_processes_in_a_pipe(folder):
    """Nothing but the data on standard output."""
    program = "import sys; from codec_jax.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    data = (folder / "photo.png").read_bytes()
    for command in ("compress", "decompress"):
        options = [command, "-", "-", "--codec=codec.npz"]
        data = subprocess.run(
            [sys.executable, "-c", program, *options],
            env=environment,
            input=data,
            capture_output=True,
            check=True,
        ).stdout
    expected = weights.load("codec.npz").decompress((folder / "photo.cjx").read_bytes())
    np.testing.assert_array_equal(image_files.read(io.BytesIO(data)).pixels, expected)


def test_info(run, tmp_path, folder):
    status, out, error = run("info", "photo.cjx")
    packet = bitstream.unpack((folder / "photo.cjx").read_bytes())
    assert (status, error) == (0, "")
    for part in (f"small {packet.fingerprint.hex()}", "83 x 45", "none"):
        assert part in out
    size = len(bitstream.pack(packet))
    assert f"{size}, of which {len(packet.strings[0])} are the picture" in out
    assert f"{8 * size / 83 / 45:.4f}" in out
    image_files.write(grey_with_alpha(np.random.default_rng(2)), tmp_path / "a.png")
    run("compress", tmp_path / "a.png", tmp_path / "a.cjx", "--codec=codec.npz")
    out = run("info", tmp_path / "a.cjx")[1]
    assert "grey 0, alpha " in out
    assert f"icc {len(image_matrix.grey_profile())}" in out


def test_models(run, monkeypatch, folder, tmp_path):
    status, out, error = run("models")
    assert (status, error) == (0, "")
    assert "architecture" in out
    data = (folder / "codec.npz").read_bytes()
    (tmp_path / "packaged").mkdir()
    (tmp_path / "packaged" / "x.npz").write_bytes(data)
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    sha256 = weights.hashlib.sha256(data).hexdigest()
    (tmp_path / "packaged" / "x.sha256").write_text(f"{sha256}  x.npz\n")
    monkeypatch.setattr(weights, "PACKAGED", {"small": "x.npz"})
    out = run("models")[1]
    for part in ("small", "bls2017", "0 to 2"):
        assert part in out
    # The codec that a file names, without --codec.
    assert run("decompress", "photo.cjx", tmp_path / "a.png") == (0, "", "")


def test_convert(run, tmp_path):
    golden = small_codecs.GOLDEN / "compressai_mbt2018-mean.npz"
    with np.load(golden) as stored:
        state = {k[6:]: stored[k] for k in stored if k.startswith("param/")}
    np.savez(tmp_path / "theirs.npz", **state)
    out = tmp_path / "converted.npz"
    status, _, error = run("convert", tmp_path / "theirs.npz", out, "--name=theirs")
    assert (status, error) == (0, "")
    expected = small_codecs.codec("mbt2018-mean").fingerprint
    assert weights.load(out).fingerprint == expected
    assert weights.about(out) == {"source": str(tmp_path / "theirs.npz")}
    packed = tmp_path / "a.cjx"
    assert run("compress", "photo.png", packed, "--codec", out)[0] == 0
    assert run("decompress", packed, tmp_path / "a.png", "--codec", out) == (0, "", "")
    assert_one_line_error(
        run("convert", golden, out, "--name=theirs"), "expected a state dict"
    )
    assert_one_line_error(
        run("convert", tmp_path / "theirs.npz", out, "--name=My Codec"),
        "expected 1 to 32 characters",
    )
    assert_one_line_error(run("convert", "no.npz", out, "--name=a"), "no such file")


def test_freeze_refuses_other_folders(run, tmp_path):
    assert_one_line_error(
        run("freeze", tmp_path, "--name=a"), "expected the folder of a run"
    )
    (tmp_path / run_config.FILE).write_text(json.dumps({"task": "pim"}))
    assert_one_line_error(run("freeze", tmp_path, "--name=a"), "is a run of 'pim'")


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("compress no.png a.cjx --codec codec.npz", ["no such image file: no.png"]),
        (
            "compress photo.cjx a.cjx --codec codec.npz",
            ["photo.cjx", "expected one of"],
        ),
        ("compress photo.png a.cjx --codec ms65", ["did you mean 'ms64'?"]),
        ("compress photo.png a.cjx --codec no.npz", ["'no.npz' is neither"]),
        ("compress photo.png a.cjx --codec photo.png", ["no file of codec weights"]),
        ("compress photo.png no/a.cjx --codec codec.npz", ["no such folder"]),
        ("compress photo.png . --codec codec.npz", ["found a folder"]),
        ("compress photo.png a.cjx --codec codec.npz --rate 3", ["rate is 3.0"]),
        ("compress photo.png a.cjx --codec codec.npz --rate nan", ["rate is nan"]),
        (
            "compress photo.png a.cjx --codec codec.npz --target-bpp 0.001",
            ["takes at least"],
        ),
        (
            "compress photo.png a.cjx --codec other.npz --target-psnr 30",
            ["theirs has a single rate"],
        ),
        ("decompress no.cjx a.png", ["No such file", "no.cjx"]),
        ("decompress photo.png a.png", ["not a .cjx file"]),
        ("decompress photo.cjx a.png", ["written by codec 'small'", "--codec"]),
        (
            "decompress photo.cjx a.png --codec other.npz",
            ["written by codec 'small'", "this is 'theirs'"],
        ),
        ("decompress photo.cjx a.gif --codec codec.npz", ["file name with one of"]),
        (
            "decompress photo.cjx a.png --codec codec.npz --largest-image 99",
            ["83 x 45 pixels, more than the limit of 99"],
        ),
        ("decompress . a.png", ["directory"]),
        ("info no.cjx", ["No such file", "no.cjx"]),
        ("info photo.png", ["not a .cjx file"]),
    ],
)
def test_errors(run, command, parts, folder):
    assert_one_line_error(run(*command.split()), *parts)
    assert not (folder / "a.cjx").exists()
    assert not (folder / "a.png").exists()


def test_a_file_of_other_weights_with_the_same_name(run, tmp_path):
    old = small_codecs.codec("factorized")
    params = old.params | {"log_gain": old.params["log_gain"] + 1}
    codec = dataclasses.replace(old, params=params)
    weights.save(codec, tmp_path / "new.npz", {})
    assert_one_line_error(
        run("decompress", "photo.cjx", "a.png", "--codec", tmp_path / "new.npz"),
        f"this is 'small' {codec.fingerprint.hex()}",
    )


@pytest.mark.parametrize("name", ["[red]a.png", ":smile:.png", "a\nb.png", "ü" * 100])
def test_names_are_printed_as_they_are(run, name):
    error = run("compress", name, "a.cjx", "--codec=codec.npz")
    assert_one_line_error(error, " ".join(name.split()))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["shrink"],
        ["compress", "a.png"],
        ["compress", "a.png", "b.cjx", "--rate=1", "--target-bpp=1"],
        ["compress", "a.png", "b.cjx", "--rate=much"],
        ["decompress", "a.cjx", "b.png", "--format=gif"],
        ["convert", "a.npz", "b.npz"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    assert "usage: codec-jax" in capsys.readouterr().err


def test_progress_of_large_pictures(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_SHOWS_PROGRESS", 1)
    packed = tmp_path / "a.cjx"
    result = run("compress", "photo.png", packed, "--codec=codec.npz")
    assert (result[0], result[1]) == (0, "")
    assert "analysis" in result[2]
    result = run("decompress", packed, tmp_path / "a.png", "--codec=codec.npz")
    assert (result[0], result[1]) == (0, "")
    assert "synthesis" in result[2]
