"""The command `codec-jax`: files and streams, everything that travels with a picture."""

import dataclasses
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import image_matrix
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

import pim_jax
from codec_jax import cli, cli_files, image_files, loading
from codec_jax.coding import bitstream, range_coder, tensorflow_engine
from codec_jax.evaluation.classical import CLASSICAL
from pim_jax.io import files
from pim_jax.training import run_config
from tests.codec_jax import small_codecs

ROOT = Path(__file__).resolve().parents[2]
SIZE = 45, 83


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A codec, another, a picture, and the picture's file."""
    folder = tmp_path_factory.mktemp("cli")
    for name, kind in (("codec", "factorized"), ("other", "bmshj2018-factorized")):
        loading.save(small_codecs.codec(kind), folder / f"{name}.npz", {})
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


def assert_one_line_error(result, *parts, status=1):
    found, out, error = result
    assert (found, out) == (status, "")
    assert error.startswith("codec-jax: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    for part in parts:
        assert part in error


def test_there_and_back(run, tmp_path):
    pixels, codec = image_files.read("photo.png").pixels, loading.load("codec.npz")
    """With one line for each file, and one of warning: a codec that is not trained."""
    out, back = tmp_path / "photo.cjx", tmp_path / "photo.tiff"
    status, shown, error = run("compress", "photo.png", out, "--codec=codec.npz")
    data = codec.compress(pixels)
    assert (status, shown) == (0, "")
    bpp = 8 * len(data) / pixels[..., 0].size
    *_, told = error.splitlines()
    psnr = cli_files.psnr(pixels, codec.decompress(data))
    assert (
        told == f"83 x 45, {len(data)} bytes, {bpp:.4f} bits per pixel, {psnr:.2f} dB"
    )
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
    codec, pixels = loading.load("codec.npz"), image_files.read("photo.png").pixels
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
    expected = loading.load("codec.npz").decompress(data)
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
    expected = loading.load("codec.npz").decompress((folder / "photo.cjx").read_bytes())
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
    monkeypatch.setattr(loading.files.resources, "files", lambda package: tmp_path)
    sha256 = files.sha256(data)
    (tmp_path / "packaged" / "x.sha256").write_text(f"{sha256}  x.npz\n")
    monkeypatch.setattr(loading, "PACKAGED", {"small": "x.npz"})
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
    assert loading.load(out).fingerprint == expected
    assert loading.about(out) == {"source": str(tmp_path / "theirs.npz")}
    packed = tmp_path / "a.cjx"
    assert run("compress", "photo.png", packed, "--codec", out)[0] == 0
    assert run("decompress", packed, tmp_path / "a.png", "--codec", out) == (0, "", "")
    other = tmp_path / "other.npz"
    assert_one_line_error(
        run("convert", golden, other, "--name=theirs"), "expected a state dict"
    )
    assert_one_line_error(
        run("convert", tmp_path / "theirs.npz", other, "--name=My Codec"),
        "expected 1 to 32 characters",
    )
    assert_one_line_error(run("convert", "no.npz", other, "--name=a"), "no such file")


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
        ("compress photo.png a.cjx --codec photo.png", ["no file of codec weights"]),
        (
            "compress photo.png a.cjx --codec codec.npz --target-bpp 0.001",
            ["takes at least"],
        ),
        ("decompress no.cjx a.png", ["No such file", "no.cjx"]),
        ("decompress photo.png a.png", ["not a .cjx file"]),
        ("decompress photo.cjx a.png", ["written by codec 'small'", "--codec"]),
        (
            "decompress photo.cjx a.png --codec other.npz",
            ["written by codec 'small'", "this is 'theirs'"],
        ),
        (
            "decompress photo.cjx a.png --codec codec.npz --largest-image 99",
            ["83 x 45 pixels, more than the limit of 99"],
        ),
        ("info no.cjx", ["No such file", "no.cjx"]),
        ("info photo.png", ["not a .cjx file"]),
        ("info .", ["directory"]),
    ],
)
def test_errors_in_the_input(run, command, parts, folder):
    assert_one_line_error(run(*command.split()), *parts)
    assert not (folder / "a.cjx").exists()
    assert not (folder / "a.png").exists()


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("compress photo.png a.cjx --codec ms65", ["did you mean 'ms64'?"]),
        ("compress photo.png a.cjx --codec no.npz", ["'no.npz' is neither"]),
        ("compress no.png no/a.cjx --codec codec.npz", ["no such folder: no"]),
        ("compress no.png a.cjx --codec codec.npz --rate 3", ["rate is 3.0"]),
        ("compress no.png a.cjx --codec codec.npz --rate nan", ["rate is nan"]),
        ("compress no.png a.cjx --codec codec.npz --target-bpp 0", ["above 0"]),
        (
            "compress no.png a.cjx --codec other.npz --target-psnr 30",
            ["theirs has a single rate"],
        ),
        ("compress photo.png photo.png --force", ["is the input itself"]),
        ("compress photo.png ./link.cjx --force", ["is the input itself"]),
        ("compress no.png photo.cjx", ["photo.cjx exists; --force overwrites it"]),
        ("compress no.png a.png", ["one of .cjx", "'a.png'"]),
        ("compress no.png other.png a.cjx", ["expected a folder", "a.cjx"]),
        ("compress . photo.cjx", ["expected a folder", "photo.cjx"]),
        ("compress x/a.png y/a.png out", ["x/a.png and y/a.png would both become"]),
        ("compress - out/", ["- stands for one file"]),
        ("compress - a.png out", ["- stands for one file"]),
        ("compress no.png - --json", ["--json"]),
        ("compress photo.png", ["expected IN and OUT, found only photo.png"]),
        ("decompress no.cjx photo.png", ["photo.png exists"]),
        ("decompress . a.png", ["expected a folder"]),
        ("decompress no.cjx a.txt", ["file name with one of .jpeg"]),
        ("decompress no.cjx a.png --format webp", ["one of .webp", "'a.png'"]),
        ("convert no.npz codec.npz --name a", ["codec.npz exists"]),
        ("convert codec.npz codec.npz --name a --force", ["the input itself"]),
        ("convert no.npz a.pth --name a", ["one of .npz"]),
        ("freeze . --name a --out codec.npz", ["codec.npz exists"]),
    ],
)
def test_what_is_asked_for_is_checked_before_the_work(run, command, parts, folder):
    """Before a file is read: those that are not there are not missed."""
    if not (folder / "link.cjx").exists():
        (folder / "link.cjx").symlink_to(folder / "photo.png")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_one_line_error(run(*command.split()), *parts, status=2)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_existing_files_are_overwritten_when_asked(run, tmp_path, folder):
    out = tmp_path / "a.cjx"
    out.write_text("old")
    assert run("compress", "photo.png", out, "--codec=codec.npz", "--force")[0] == 0
    assert out.read_bytes() == (folder / "photo.cjx").read_bytes()


def test_folders_and_lists(run, tmp_path, folder):
    """Each file by itself: one that is broken stops none, and the names stay apart."""
    photo = (folder / "photo.png").read_bytes()
    for name in ("a.png", "in/b.PNG", "in/c.png", ".hidden.png", "notes.txt"):
        path = tmp_path / "from" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(photo)
    (tmp_path / "from" / "in" / "c.jpg").write_text("no picture")
    to, back = tmp_path / "to", tmp_path / "back"
    given = ("compress", tmp_path / "from", to, "--codec=codec.npz")
    status, out, error = run(*given)
    assert (status, out) == (1, "")
    assert sorted(str(p.relative_to(to)) for p in to.rglob("*.cjx")) == [
        "a.cjx",
        "in/b.cjx",
        "in/c.png.cjx",
    ]
    data = (folder / "photo.cjx").read_bytes()
    assert {path.read_bytes() for path in to.rglob("*.cjx")} == {data}
    for part in ("[1/4] ", "a.png -> ", "c.jpg: expected one of", "3 of 4 files, 1 "):
        assert part in error
    bpp = f"{8 * len(data) / SIZE[0] / SIZE[1]:.4f} bits per pixel"
    assert f": {3 * len(data)} bytes, {bpp}, " in error
    assert error.endswith(" dB on average\n")
    # Again: nothing is overwritten, unless it is asked for.
    status, _, error = run(*given)
    assert status == 1
    assert error.count("--force overwrites it") == 3
    status, _, error = run(*given, "--skip-existing")
    assert "0 of 4 files, 1 failed, 3 skipped" in error
    # A list, to another folder, as what a program reads.
    list_of = [to / "a.cjx", to / "in", folder / "no.cjx"]
    options = ("--codec=codec.npz", "--json", "--format=webp")
    status, out, error = run("decompress", *list_of, back, *options)
    found = json.loads(out)
    assert status == 1
    assert error.count("\n") == 1
    assert [Path(entry["out"]).name for entry in found["files"]] == [
        "a.webp",
        "b.webp",
        "c.png.webp",
        "no.webp",
    ]
    assert found["files"][0]["width"] == 83
    assert "no.cjx" in found["files"][3]["error"]
    assert found["summary"]["done"] == 3
    expected = loading.load("codec.npz").decompress(data)
    for entry in found["files"][:3]:
        pixels = image_files.read(entry["out"]).pixels
        np.testing.assert_array_equal(pixels, expected)
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run("compress", empty, tmp_path / "x", "--codec=codec.npz")
    assert_one_line_error(result, "found no files")


def test_one_file_into_a_folder(run, tmp_path):
    """As what a pattern of the shell gives that fits one file."""
    for out in (f"{tmp_path}/new/", tmp_path):
        assert run("compress", "photo.png", out, "--codec=codec.npz")[0] == 0
        assert (Path(out) / "photo.cjx").is_file()


def test_paths_on_both_sides_of_an_option(run, tmp_path):
    out = tmp_path / "a.cjx"
    assert run("compress", "photo.png", "--codec", "codec.npz", out)[0] == 0
    assert out.is_file()


def test_json(run, tmp_path, folder):
    out = tmp_path / "a.cjx"
    given = ("compress", "photo.png", out, "--codec=codec.npz", "--json")
    status, shown, _ = run(*given)
    (entry,) = json.loads(shown)["files"]
    size = (folder / "photo.cjx").stat().st_size
    assert (status, entry["bytes"], entry["height"]) == (0, size, 45)
    pixels, codec = image_files.read("photo.png").pixels, loading.load("codec.npz")
    seen = codec.decompress(out.read_bytes())
    error = np.mean(np.square(pixels.astype(np.float64) - seen))
    assert entry["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    found = json.loads(run("info", out, "--json")[1])
    assert (found["bytes"], found["codec"], found["extras"]) == (size, "small", {})
    names = [codec["name"] for codec in json.loads(run("models", "--json")[1])]
    assert names == list(loading.PACKAGED)


def test_strip_leaves_out_where_a_picture_was_taken(run, tmp_path, folder):
    exif = PIL.Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825)[1] = "N"
    with PIL.Image.open(folder / "photo.png") as image:
        image.save(tmp_path / "a.png", exif=exif, icc_profile=profile())
    kept = {}
    for name, options in (("with", []), ("without", ["--strip"])):
        out = tmp_path / f"{name}.cjx"
        given = ("compress", tmp_path / "a.png", out, "--codec=codec.npz", "--no-psnr")
        assert run(*given, *options)[0] == 0
        kept[name] = set(bitstream.unpack(out.read_bytes()).extras)
    assert kept == {"with": {"exif", "icc"}, "without": {"icc"}}


def test_a_file_larger_than_another_is_told(run, tmp_path):
    """One line: than its source, or than a JPEG of the same quality."""
    PIL.Image.new("RGB", (83, 45), (10, 200, 30)).save(tmp_path / "flat.png")
    given = ("compress", tmp_path / "flat.png", tmp_path / "a.cjx", "--no-psnr")
    error = run(*given, "--codec=codec.npz")[2]
    (line,) = [line for line in error.splitlines() if "warning" in line]
    assert "larger than its source" in line
    assert len(error.splitlines()) == 2

    photo = np.stack(
        np.broadcast_arrays(*np.ogrid[0:180:45j, 0:249:83j], np.uint8(9)),
        axis=2,
    ).astype(np.uint8)
    quality, size = cli_files.jpeg_of(photo, 30.0)
    jpeg = CLASSICAL["jpeg"]
    data = jpeg.compress(photo, quality)
    assert size == len(data)
    worse = jpeg.decompress(jpeg.compress(photo, quality - 1))
    assert cli_files.psnr(photo, jpeg.decompress(data)) >= 30
    assert cli_files.psnr(photo, worse) < 30
    assert cli_files.jpeg_of(photo, 99.0) is None
    done = cli_files.Done(cli_files.Job("a.png", "a.cjx"), 45, 83, size + 20)
    told = cli_files.warning(done, 10**5, size + 1, (quality, size))
    assert f"a JPEG of the same PSNR is smaller ({size} bytes" in told
    assert cli_files.warning(done, size, size + 1, (quality, size)).startswith(
        "the file is larger than its source"
    )
    assert cli_files.warning(done, 10**5, size, (quality, size)) is None
    assert cli_files.warning(done, size + 20, size, None) is None


def test_psnr_is_of_what_is_visible():
    pixels = np.random.default_rng(0).integers(0, 250, (9, 7, 3), np.uint8)
    alpha = np.ones((9, 7), np.uint8)
    alpha[:3] = 0
    other = pixels.copy()
    other[:3] = 0
    assert cli_files.psnr(pixels, other, alpha) == np.inf
    other[3:] += 2
    assert cli_files.psnr(pixels, other, alpha) == pytest.approx(42.11, abs=0.01)
    assert cli_files.psnr(pixels, other, 0 * alpha) == np.inf


def test_ctrl_c_ends_with_one_line(run, tmp_path, monkeypatch):
    """And what was done before is told."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(Path("photo.png").read_bytes())
    read = image_files.read

    def interrupts(source):
        if Path(source).name == "b.png":
            raise KeyboardInterrupt
        return read(source)

    monkeypatch.setattr(image_files, "read", interrupts)
    given = ("compress", tmp_path, tmp_path / "to", "--codec=codec.npz", "--json")
    status, out, error = run(*given, "--no-psnr")
    assert (status, error) == (130, "codec-jax: interrupted\n")
    summary = json.loads(out)["summary"]
    assert (summary["done"], summary["files"]) == (1, 3)
    result = run("compress", tmp_path / "b.png", tmp_path / "x.cjx")
    assert result == (130, "", "codec-jax: interrupted\n")


@pytest.mark.parametrize("seconds", [0.15, 1.0])
def test_ctrl_c_while_the_program_starts(seconds):
    """Loading takes a second or more, and loses no stack trace either."""
    program = "import pim_jax_start, sys; print(flush=True); "
    program += "sys.exit(pim_jax_start.codec())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "compress", "-", "-"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PIM_JAX_CACHE": os.devnull},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out, error) == (130, "", "codec-jax: interrupted\n")


def test_coder(run, tmp_path, monkeypatch):
    engines = []

    def encode(*given):
        engines.append(range_coder.chosen())
        return b""

    monkeypatch.setattr(range_coder, "encode", encode)
    given = ("compress", "photo.png", tmp_path / "a.cjx", "--codec=codec.npz")
    given += ("--no-psnr", "--force")
    assert run(*given, "--coder=ours")[0] == 0
    monkeypatch.setenv(range_coder.VARIABLE, "ours")
    assert run(*given)[0] == 0
    assert engines == ["numba"] * 2
    monkeypatch.setenv(range_coder.VARIABLE, "fast")
    assert_one_line_error(run(*given), "CODEC_JAX_CODER", "'fast'", status=2)
    if not tensorflow_engine.is_installed():
        result = run(*given, "--coder=tensorflow")
        assert_one_line_error(result, "needs tensorflow", status=2)


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"codec-jax {pim_jax.__version__}\n"


# Modules that take long to load, and are for training, tables of results or downloads.
HEAVY = {
    *("array_record", "av", "bjontegaard", "imagecodecs", "matplotlib", "optax"),
    *("orbax", "pandas", "skimage", "tensorboardX", "tensorflow_datasets"),
    *("ml_collections", "tensorflow", "scipy.stats", "scipy.special", "flax.training"),
}


def test_what_coding_does_not_need_is_not_loaded(folder, tmp_path):
    """Nor TensorFlow by our engine, nor ours by TensorFlow's, and nothing is printed."""
    program = (
        "import sys\n"
        "import codec_jax.cli\n"
        f"heavy = {HEAVY | {'numba', 'tensorflow_compression_ops'}!r}\n"
        "assert not heavy & {*sys.modules}, heavy & {*sys.modules}\n"
        "assert codec_jax.cli.main(sys.argv[1:]) == 0\n"
        "print(*heavy & {*sys.modules})\n"
    )
    coders = {"ours": {"numba"}}
    if tensorflow_engine.is_installed():
        # TensorFlow loads some of the others for itself.
        coders["tensorflow"] = {"tensorflow", "tensorflow_compression_ops", "optree"}
    for coder, expected in coders.items():
        options = ["--codec=codec.npz", f"--coder={coder}"]
        paths = ["photo.cjx", str(tmp_path / f"{coder}.png")]
        done = subprocess.run(
            [sys.executable, "-c", program, "decompress", *paths, *options],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = set(done.stdout.split())
        assert done.stderr == ""
        if coder == "ours":
            assert loaded == expected
        else:
            assert "tensorflow" in loaded
            assert "numba" not in loaded


def test_a_file_of_other_weights_with_the_same_name(run, tmp_path):
    old = small_codecs.codec("factorized")
    params = old.params | {"log_gain": old.params["log_gain"] + 1}
    codec = dataclasses.replace(old, params=params)
    loading.save(codec, tmp_path / "new.npz", {})
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
        ["compress"],
        ["compress", "a.png", "b.cjx", "--fast"],
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
