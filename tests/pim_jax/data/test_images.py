import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from pim_jax.data import images

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (12, 20, 3), np.uint8)


def write_deep_png(path, pixels):
    """A 16-bit RGB or RGBA PNG, which Pillow cannot write."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width, channels = pixels.shape
    colour = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_eight_bits(tmp_path):
    PIL.Image.fromarray(PHOTO).save(tmp_path / "a.png")
    image = images.read_image(tmp_path / "a.png")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, PHOTO.astype(np.float32) / 255)
    np.testing.assert_array_equal(images.read_pixels(tmp_path / "a.png"), PHOTO)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_other_modes_become_rgb(tmp_path, mode):
    image = PIL.Image.fromarray(PHOTO).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.read_pixels(tmp_path / "a.png"), expected)


def test_sixteen_bits_keep_their_precision(tmp_path):
    grey = RNG.integers(0, 65536, (9, 7), np.uint16)
    PIL.Image.fromarray(grey).save(tmp_path / "grey.png")
    image = images.read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(image[:, :, 1], grey.astype(np.float32) / 65535)
    for channels in (3, 4):
        deep = RNG.integers(0, 65536, (9, 7, channels), np.uint16)
        deep[:, :, 3:] = 65535
        write_deep_png(tmp_path / "deep.png", deep)
        image = images.read_image(tmp_path / "deep.png")
        expected = deep[:, :, :3].astype(np.float32) / 65535
        np.testing.assert_array_equal(image, expected)


def test_exif_orientation_is_applied(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    PIL.Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        images.read_pixels(tmp_path / "a.png"), np.rot90(PHOTO, -1)
    )


def test_transparency_is_refused(tmp_path):
    pixels = np.dstack([PHOTO, np.full((12, 20), 255, np.uint8)])
    pixels[:6, :, 3] = 0
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"50.0% of its pixels are transparent"):
        images.read_image(tmp_path / "a.png")
    deep = pixels.astype(np.uint16) * 257
    write_deep_png(tmp_path / "deep.png", deep)
    with pytest.raises(ValueError, match=r"50.0% of its pixels are transparent"):
        images.read_image(tmp_path / "deep.png")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        images.read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"cannot read the image .*text\.png"):
        images.read_image(tmp_path / "text.png")
    deep = RNG.integers(0, 65536, (40, 40, 3), np.uint16)
    write_deep_png(tmp_path / "deep.png", deep)
    PIL.Image.fromarray(PHOTO).save(tmp_path / "plain.png")
    for name in ("deep.png", "plain.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match=f"cannot read the image .*{name}"):
            images.read_image(tmp_path / name)
    PIL.Image.new("LAB", (8, 8)).save(tmp_path / "lab.tif")
    with pytest.raises(ValueError, match=r"lab\.tif: .* convert it to RGB first"):
        images.read_image(tmp_path / "lab.tif")
    with pytest.raises(ValueError, match="cannot read"):
        images.read_image(tmp_path)


def test_list_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image file"):
        images.list_images(tmp_path)
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in images.list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        images.list_images(tmp_path / "none")
