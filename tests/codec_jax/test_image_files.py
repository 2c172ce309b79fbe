"""Image files of every kind to pixels and what belongs to them, and back."""

import dataclasses
import io
import itertools
import lzma
import os
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile

from codec_jax import image_files
from codec_jax.coding import bitstream
from codec_jax.image_files import Picture, extras_of, picture_from, read, write

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 21, 34
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = np.repeat(COLOURS[:, :, :1], 3, axis=2)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
ICC = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def exif(**more):
    """Some tags, some in a folder, and places."""
    tags = PIL.Image.Exif()
    tags[0x010F] = "A maker"
    tags[0x8298] = "Somebody"
    tags[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: b"note\0\1\2"}
    tags[0x8825] = {1: "N", 2: (51.0, 28.0, 40.0)}
    for name, value in more.items():
        tags[getattr(PIL.ExifTags.Base, name)] = value
    return tags


def contents(data):
    tags = PIL.Image.Exif()
    tags.load(data)
    folders = {tag: dict(tags.get_ifd(tag)) for tag in (0x8769, 0x8825)}
    return {k: v for k, v in tags.items() if k not in folders} | folders


def encoded(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def opened(data):
    return read(io.BytesIO(data))


def deep_png(samples, transparent=None):
    """A PNG of 16 bits in one to four channels."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    ]
    if transparent is not None:
        parts.append(chunk(b"tRNS", transparent.astype(">u2").tobytes()))
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_tiff(samples, **options):
    stream = io.BytesIO()
    channels = samples.shape[2]
    options |= {"metadata": None, "software": False}
    options.setdefault("photometric", "rgb" if channels > 2 else "minisblack")
    if channels == 4:
        options.setdefault("extrasamples", ["unassalpha"])
    tifffile.imwrite(stream, samples[:, :, 0] if channels == 1 else samples, **options)
    return stream.getvalue()


def rounded(samples):
    """By the definition."""
    return np.rint(samples / 257).astype(np.uint8)


def same(a, b):
    for field in dataclasses.fields(Picture):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype == np.uint8
        else:
            assert left == right, field.name
    return True


# Reading: eight bits.


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_rgb(format):
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(PIL.Image.fromarray(COLOURS), format, **options)
    assert same(opened(data), Picture(COLOURS))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM"])
def test_grey(format):
    data = encoded(PIL.Image.fromarray(GREY[:, :, 0]), format)
    assert same(opened(data), Picture(GREY, grey=True))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit(format):
    bits = COLOURS[:, :, 0] < 100
    data = encoded(PIL.Image.fromarray(bits), format)
    expected = np.repeat(np.uint8(255) * bits[:, :, None], 3, axis=2)
    assert same(opened(data), Picture(expected, grey=True))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(mode):
    image = PIL.Image.fromarray(COLOURS).convert(mode)
    data = encoded(image, "JPEG")
    with PIL.Image.open(io.BytesIO(data)) as reference:
        expected = np.asarray(reference.convert("RGB"))
    assert same(opened(data), Picture(expected, grey=mode == "L"))


def test_previews_behind_a_jpeg_are_ignored():
    image, preview = PIL.Image.fromarray(COLOURS), PIL.Image.new("RGB", (8, 8))
    data = encoded(image, "MPO", save_all=True, append_images=[preview])
    assert same(opened(data), opened(encoded(image, "JPEG")))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_rgba(format):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    image = PIL.Image.fromarray(np.dstack([COLOURS, ALPHA]))
    data = encoded(image, format, **options)
    assert same(opened(data), Picture(COLOURS, ALPHA))
    opaque = PIL.Image.fromarray(np.dstack([COLOURS, np.full_like(ALPHA, 255)]))
    assert same(opened(encoded(opaque, format, **options)), Picture(COLOURS))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_with_alpha(format):
    image = PIL.Image.fromarray(np.dstack([GREY[:, :, 0], ALPHA]))
    assert image.mode == "LA"
    assert same(opened(encoded(image, format)), Picture(GREY, ALPHA, grey=True))


def test_associated_alpha_is_divided_out():
    stream = io.BytesIO()
    half = np.full((4, 5, 4), 128, np.uint8)
    half[:, :, 0] = 64
    tifffile.imwrite(stream, half, photometric="rgb", extrasamples=["assocalpha"])
    picture = opened(stream.getvalue())
    np.testing.assert_array_equal(picture.pixels[0, 0], [127, 255, 255])
    np.testing.assert_array_equal(picture.alpha, half[:, :, 3])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_palette(format):
    image = PIL.Image.fromarray(COLOURS).quantize(16)
    data = encoded(image, format)
    assert same(opened(data), Picture(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 16))])
def test_palette_with_transparency(transparency):
    """One entry that is transparent, or a value for each of them."""
    image = PIL.Image.fromarray(COLOURS).quantize(16)
    index = np.asarray(image)
    picture = opened(encoded(image, "PNG", transparency=transparency))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    if isinstance(transparency, bytes):
        expected = np.frombuffer(transparency, np.uint8)[index]
    else:
        expected = np.where(index == transparency, 0, 255)
    np.testing.assert_array_equal(picture.alpha, expected)


def test_transparent_colour():
    data = encoded(
        PIL.Image.fromarray(COLOURS), "PNG", transparency=tuple(COLOURS[3, 4].tolist())
    )
    hit = (COLOURS[3, 4] == COLOURS).all(axis=2)
    assert hit[3, 4]
    assert same(opened(data), Picture(COLOURS, np.where(hit, 0, 255).astype(np.uint8)))
    key = int(GREY[3, 4, 0])
    data = encoded(PIL.Image.fromarray(GREY[:, :, 0]), "PNG", transparency=key)
    alpha = np.where(GREY[:, :, 0] == key, 0, 255).astype(np.uint8)
    assert same(opened(data), Picture(GREY, alpha, grey=True))


# Reading: sixteen bits.


def deep(channels):
    samples = RNG.integers(0, 65536, (HEIGHT, WIDTH, channels), np.uint16)
    # All values around a border between two of eight bits.
    borders = (np.arange(255)[:, None] * 257 + np.arange(127, 131)).ravel()
    samples.reshape(-1)[: HEIGHT * WIDTH] = borders[: HEIGHT * WIDTH]
    return samples


def expected_of(samples):
    values, channels = rounded(samples), samples.shape[2]
    pixels = (
        values[:, :, :3] if channels > 2 else np.repeat(values[:, :, :1], 3, axis=2)
    )
    return Picture(
        pixels, values[:, :, -1] if channels in (2, 4) else None, channels < 3
    )


def test_rounding_of_all_values():
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    pixels = opened(deep_png(samples)).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], rounded(samples[:, :, 0]))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_deep_png(channels):
    samples = deep(channels)
    assert same(opened(deep_png(samples)), expected_of(samples))


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_png_with_a_transparent_colour(channels):
    samples = deep(channels)
    expected = expected_of(samples)
    hit = (samples == samples[7, 8]).all(axis=2)
    expected = dataclasses.replace(
        expected, alpha=np.where(hit, 0, 255).astype(np.uint8)
    )
    assert same(opened(deep_png(samples, samples[7, 8])), expected)


@pytest.mark.parametrize(
    ("channels", "order", "compression"),
    list(itertools.product([1, 3, 4], "<>", [None, "zlib"])),
)
def test_deep_tiff(channels, order, compression):
    samples = deep(channels)
    options = {"byteorder": order, "compression": compression}
    assert same(opened(deep_tiff(samples, **options)), expected_of(samples))
    predicted = deep_tiff(samples, **options, predictor=2 if compression else None)
    assert same(opened(predicted), expected_of(samples))


@pytest.mark.parametrize("channels", [3, 4])
def test_deep_tiff_with_a_plane_for_each_channel(channels):
    samples = deep(channels)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.moveaxis(samples, 2, 0),
        photometric="rgb",
        planarconfig="separate",
        metadata=None,
        software=False,
        extrasamples=["unassalpha"] if channels == 4 else None,
    )
    assert same(opened(stream.getvalue()), expected_of(samples))


def test_deep_tiff_where_zero_is_white():
    samples = deep(1)
    data = deep_tiff(samples, photometric="miniswhite")
    assert same(opened(data), expected_of(65535 - samples))


def test_deep_ppm():
    samples = deep(3)
    head = f"P6 {WIDTH} {HEIGHT} 65535\n".encode()
    assert same(opened(head + samples.astype(">u2").tobytes()), expected_of(samples))
    grey = deep(1)
    head = f"P5 {WIDTH} {HEIGHT} 65535\n".encode()
    assert same(opened(head + grey.astype(">u2").tobytes()), expected_of(grey))


# Reading: what belongs to a picture.


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(format, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = [255, 0, 0]
    upright[:8, 12:] = [0, 255, 0]
    upright[8:, :12] = [0, 0, 255]
    # What a camera stores, by the definition: where row 0 and column 0 of the file are.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    options = {"exif": exif(Orientation=orientation).tobytes()}
    if format == "WEBP":
        options["lossless"] = True
    if format == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    data = encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), format, **options)
    picture = opened(data)
    difference = np.abs(picture.pixels.astype(int) - upright)
    assert difference.max() <= (2 if format == "JPEG" else 0)
    left = contents(picture.exif)
    assert left.pop(0x0112, 1) == 1
    assert left == contents(exif().tobytes())


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_orientation_of_deep_files(orientation):
    samples = deep(3)
    stored = np.rot90(samples, {1: 0, 6: 1, 8: -1}[orientation])
    data = deep_tiff(stored, extratags=[(274, "H", 1, orientation, True)])
    assert same(opened(data), expected_of(samples))
    png = deep_png(stored)
    tags = exif(Orientation=orientation).tobytes()[6:]
    chunk = struct.pack(">I", len(tags)) + b"eXIf" + tags
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + tags))
    picture = opened(png[:33] + chunk + png[33:])
    assert same(dataclasses.replace(picture, exif=None), expected_of(samples))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_profile_and_exif(format):
    image = PIL.Image.fromarray(COLOURS)
    picture = opened(encoded(image, format, icc_profile=ICC, exif=exif().tobytes()))
    assert picture.icc == ICC
    assert contents(picture.exif) == contents(exif().tobytes())
    if format != "TIFF":
        assert picture.exif == exif().tobytes()[6:]
    plain = opened(encoded(image, format))
    assert plain.icc is None
    assert plain.exif is None


# Reading: what is refused.


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no.png"))):
        read(tmp_path / "no.png")


def tiff(samples, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def animated(format):
    frames = [PIL.Image.fromarray(x) for x in (COLOURS, GREY)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


def png_header(width, height):
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + data
    start = b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk
    return start + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\1\0IDAT\x78\x9c"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected one of PNG, JPEG"),
        (b"P", "expected one of PNG, JPEG"),
        (b"%PDF-1.4" * 50, "expected one of PNG, JPEG"),
        (
            encoded(PIL.Image.new("LAB", (8, 8)), "TIFF"),
            "photometric interpretation 8 and",
        ),
        (encoded(PIL.Image.new("F", (8, 8)), "TIFF"), "found floating-point samples"),
        (
            tiff(COLOURS.astype(np.float32), photometric="rgb"),
            "scale them to 8 or 16 bits first",
        ),
        (tiff(deep(1)[:, :, 0].astype(np.uint32)), "found 32 bits"),
        (tiff(deep(1)[:, :, 0].astype(np.int16)), "found signed samples"),
        (tiff(GREY[:, :, 0].astype(np.int8)), "found signed samples"),
        (
            tiff(COLOURS.astype(np.complex64), photometric="rgb"),
            "found complex samples",
        ),
        (deep_tiff(deep(4), extrasamples=["unspecified"]), "remove them first"),
        (animated("PNG"), "several pages or frames"),
        (animated("TIFF"), "several pages or frames"),
        (animated("WEBP"), "several pages or frames"),
        (animated("GIF"), "several pages or frames (2); choose one by its number"),
        (png_header(60000, 60000), "decompression bomb"),
        (png_header(0, 7), "cannot read"),
        (png_header(9000, 9000), "truncated"),
    ],
)
def test_other_files_are_refused(tmp_path, data, message):
    path = tmp_path / "strange.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="the stream"):
        opened(data)


def test_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        read(tmp_path)


def samples_of_all_kinds():
    image = PIL.Image.fromarray(COLOURS)
    more = {"icc_profile": ICC, "exif": exif(Orientation=6).tobytes()}
    yield from (encoded(image, format, **more) for format in ("PNG", "JPEG", "WEBP"))
    yield encoded(image, "TIFF", **more)
    yield encoded(image, "TIFF", compression="tiff_lzw", icc_profile=ICC)
    yield encoded(image.quantize(16), "PNG", transparency=3)
    yield encoded(image, "BMP")
    yield deep_png(deep(4))
    yield deep_png(deep(1), np.array([7]))
    yield deep_tiff(deep(3))
    yield deep_tiff(deep(1), compression="zlib")


def test_cut_off_files_are_refused():
    """Wherever they end; only what no pixel needs may be missing."""
    for data in samples_of_all_kinds():
        whole = opened(data)
        for length in np.unique(np.linspace(0, len(data) - 1, 40).astype(int)):
            try:
                picture = opened(data[:length])
            except ValueError:
                continue
            np.testing.assert_array_equal(picture.pixels, whole.pixels)


@pytest.mark.filterwarnings("ignore::codec_jax.image_files.FileWarning")
def test_damaged_files_raise_nothing_but_value_errors():
    rng = np.random.default_rng(1)
    refused = 0
    for data in samples_of_all_kinds():
        for _ in range(150):
            changed = bytearray(data)
            # Most often in the head, where the structure is.
            end = len(data) if rng.random() < 0.3 else min(len(data), 400)
            for place in rng.integers(0, end, rng.integers(1, 5)):
                changed[place] = rng.integers(256)
            try:
                opened(bytes(changed))
            except ValueError:
                refused += 1
    assert refused > 300


# Writing.

PICTURES = {
    "rgb": Picture(COLOURS),
    "rgba": Picture(COLOURS, ALPHA),
    "grey": Picture(GREY, grey=True),
    "grey-alpha": Picture(GREY, ALPHA, grey=True),
    "profile": Picture(COLOURS, ALPHA, icc=ICC),
    "exif": Picture(COLOURS, exif=exif().tobytes()[6:]),
    "all": Picture(COLOURS, ALPHA, icc=ICC, exif=exif().tobytes()[6:]),
    "all-grey": Picture(GREY, ALPHA, grey=True, exif=exif().tobytes()[6:]),
    "one-pixel": Picture(COLOURS[:1, :1], ALPHA[:1, :1]),
}


@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
@pytest.mark.parametrize("name", PICTURES)
def test_written_without_loss(tmp_path, name, format):
    picture = PICTURES[name]
    path = tmp_path / f"a.{format}"
    write(picture, path)
    found = read(path)
    if picture.exif:
        assert contents(found.exif) == contents(picture.exif)
        found = dataclasses.replace(found, exif=picture.exif)
    expected = dataclasses.replace(picture, grey=picture.grey and format != "webp")
    assert same(found, expected)
    stream = io.BytesIO()
    write(picture, stream, format)
    assert stream.getvalue() == path.read_bytes()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_grey_is_written_with_one_channel(format):
    for name, mode in [("grey", "L"), ("grey-alpha", "LA")]:
        stream = io.BytesIO()
        write(PICTURES[name], stream, format)
        with PIL.Image.open(stream) as image:
            assert image.mode == mode


def test_formats_and_suffixes(tmp_path):
    write(PICTURES["rgb"], tmp_path / "a.TIF")
    write(PICTURES["rgb"], str(tmp_path / "b"), "webp")
    stream = io.BytesIO()
    write(PICTURES["rgb"], stream)
    kinds = []
    for source in (tmp_path / "a.TIF", tmp_path / "b", stream):
        with PIL.Image.open(source) as image:
            kinds.append(image.format)
    assert kinds == ["TIFF", "WEBP", "PNG"]


@pytest.mark.parametrize(
    ("name", "format", "error", "message"),
    [
        (
            "a.gif",
            None,
            ValueError,
            "expected a file name with one of .jpeg, .jpg, .png",
        ),
        ("a", None, ValueError, "found 'a'"),
        ("a.png", "gif", ValueError, "found 'gif'"),
        ("no/a.png", None, FileNotFoundError, "no such folder"),
        ("folder.png", None, ValueError, "found a folder"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, name, format, error, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=re.escape(message)):
        write(PICTURES["rgb"], tmp_path / name, format)
    assert os.listdir(tmp_path) == ["folder.png"]


@pytest.mark.parametrize("name", ["rgb", "grey"])
def test_jpeg_out(tmp_path, name):
    smooth = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8) * 4
    pixels = np.repeat(smooth[:, :, None], 3, axis=2)
    if name == "rgb":
        pixels[:, :, 0] = 255 - pixels[:, :, 0]
    tags = exif().tobytes()[6:]
    picture = Picture(pixels, grey=name == "grey", exif=tags)
    for file in (tmp_path / "a.jpg", tmp_path / "a.JPEG"):
        write(picture, file)
        found = read(file)
        assert found.grey == picture.grey
        assert contents(found.exif) == contents(tags)
        assert np.abs(found.pixels.astype(int) - pixels).max() <= 4


def test_jpeg_has_no_transparency_and_a_limit(tmp_path):
    with pytest.raises(ValueError, match="no transparency, this picture does"):
        write(PICTURES["rgba"], tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="65500, this picture is 65501x1"):
        write(Picture(np.zeros((1, 65501, 3), np.uint8)), tmp_path / "a.jpg")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff", "webp"])
def test_long_profiles_come_back(format):
    """Those of printers have millions of bytes."""
    long = ICC + RNG.bytes(2_000_000)
    stream = io.BytesIO()
    write(Picture(COLOURS, icc=long), stream, format)
    assert opened(stream.getvalue()).icc == long


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_profiles_that_no_reader_takes_are_left_out_with_a_warning(format):
    stream = io.BytesIO()
    with pytest.warns(image_files.FileWarning, match="profile is too long"):
        write(Picture(COLOURS, icc=ICC + bytes(2**24)), stream, format)
    assert opened(stream.getvalue()).icc is None


@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
def test_strip_drops_exif_and_keeps_how_a_picture_looks(format):
    picture = PICTURES["all"]
    assert image_files.stripped(picture) == dataclasses.replace(picture, exif=None)
    assert set(extras_of(picture, strip=True)) == {"alpha", "icc"}
    stream = io.BytesIO()
    write(picture, stream, format, strip=True)
    found = opened(stream.getvalue())
    assert found.exif is None
    assert b"Somebody" not in stream.getvalue()
    np.testing.assert_array_equal(found.alpha, picture.alpha)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (21, 34), (32, 64)])
def test_hidden_colours_are_replaced_by_those_nearby(size):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    alpha = np.zeros(size, np.uint8)
    alpha[-1, -1] = 1
    picture = Picture(pixels, alpha)
    filled = image_files.with_hidden_filled(picture)
    # One visible pixel: its colour everywhere.
    np.testing.assert_array_equal(filled.pixels, np.full_like(pixels, pixels[-1, -1]))
    alpha = rng.integers(0, 2, size, np.uint8)
    filled = image_files.with_hidden_filled(Picture(pixels, alpha))
    np.testing.assert_array_equal(filled.pixels[alpha > 0], pixels[alpha > 0])
    np.testing.assert_array_equal(filled.alpha, alpha)
    nothing = image_files.with_hidden_filled(Picture(pixels, np.zeros_like(alpha)))
    assert not nothing.pixels.any()
    opaque = Picture(pixels)
    assert image_files.with_hidden_filled(opaque) is opaque


def test_noise_that_nobody_sees_takes_a_fraction_of_its_bytes():
    y, x = np.mgrid[:128, :128]
    smooth = np.stack([x, y, x + y], axis=2).astype(np.uint8)
    alpha = np.where((x - 64) ** 2 + (y - 64) ** 2 < 1500, 255, 0).astype(np.uint8)
    noise = np.random.default_rng(4).integers(0, 256, smooth.shape, np.uint8)
    picture = Picture(np.where(alpha[:, :, None] > 0, smooth, noise), alpha)
    sizes = [
        len(encoded(PIL.Image.fromarray(p.pixels), "JPEG", quality=75))
        for p in (picture, image_files.with_hidden_filled(picture))
    ]
    assert sizes[1] < sizes[0] / 4


def test_webp_has_a_limit(tmp_path):
    with pytest.raises(ValueError, match="16383, this picture is 16384x1"):
        write(Picture(np.zeros((1, 16384, 3), np.uint8)), tmp_path / "a.webp")
    assert not os.listdir(tmp_path)


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write(PICTURES["rgb"], path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write(PICTURES["grey"], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_links_and_devices_stay_what_they_are(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write(PICTURES["rgb"], tmp_path / "real.png")
    write(PICTURES["grey"], tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert read(tmp_path / "real.png").grey
    image_files.replace_file(os.devnull, b"nothing")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("place", ["Orientation", "PhotometricInterpretation"])
def test_exif_does_not_change_what_a_tiff_shows(place):
    """Entries that say how pixels are stored belong to the file alone."""
    hostile = exif(**{place: 0 if place.startswith("P") else 6}, BitsPerSample=1)
    picture = dataclasses.replace(PICTURES["grey"], exif=hostile.tobytes()[6:])
    stream = io.BytesIO()
    write(picture, stream, "tiff")
    np.testing.assert_array_equal(opened(stream.getvalue()).pixels, GREY)


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "jpeg"])
@pytest.mark.parametrize("data", [b"nothing", b"II*\0\xff\xff\0\0", b"II*\0"])
def test_exif_that_is_none_is_left_out_with_a_warning(format, data):
    stream = io.BytesIO()
    with pytest.warns(image_files.FileWarning, match="EXIF data cannot be read"):
        write(Picture(COLOURS, exif=data), stream, format)
    assert opened(stream.getvalue()).exif is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixels": COLOURS[:, :, 0]}, "pixels: expected uint8 (h, w, 3)"),
        ({"pixels": COLOURS / 255}, "found float64"),
        ({"pixels": COLOURS[:0]}, "pixels: expected one at least"),
        ({"alpha": ALPHA[1:]}, "alpha: expected uint8 (21, 34), found uint8 (20, 34)"),
        ({"grey": True}, "grey: expected three channels alike"),
    ],
)
def test_wrong_pictures(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Picture(**({"pixels": COLOURS} | fields))


# Extras.


@pytest.mark.parametrize("name", PICTURES)
def test_extras_come_back_through_the_container(name):
    picture = PICTURES[name]
    extras = extras_of(picture)
    height, width = picture.pixels.shape[:2]
    packet = bitstream.Packet("msh4", b"abcd", height, width, 1, (b"",), extras)
    data = bitstream.pack(packet)
    assert same(picture_from(picture.pixels, bitstream.unpack(data).extras), picture)


def test_names_are_those_of_the_container():
    both = extras_of(PICTURES["all"]) | extras_of(PICTURES["all-grey"])
    assert set(both) == set(bitstream.EXTRAS)
    assert extras_of(PICTURES["rgb"]) == {}


def test_grey_is_the_mean_of_what_was_decoded():
    everything = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), -1).reshape(
        -1, 13, 3
    )
    picture = picture_from(everything.astype(np.uint8), {"grey": b""})
    expected = np.rint(everything.mean(axis=2))
    np.testing.assert_array_equal(picture.pixels, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("value", [0, 77])
def test_flat_alpha_takes_next_to_nothing(value):
    alpha = np.full((2000, 1000), value, np.uint8)
    picture = Picture(np.zeros((2000, 1000, 3), np.uint8), alpha)
    extras = extras_of(picture)
    assert len(extras["alpha"]) < 1000
    assert same(picture_from(picture.pixels, extras), picture)


def test_alpha_as_the_document_says():
    """LZMA2 of differences along the rows, one after the other."""
    data = extras_of(PICTURES["rgba"])["alpha"]
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**22}]
    differences = lzma.decompress(data, lzma.FORMAT_RAW, filters=filters)
    values = np.cumsum(np.frombuffer(differences, np.uint8), dtype=np.uint8)
    np.testing.assert_array_equal(values.reshape(ALPHA.shape), ALPHA)


def packed(values):
    return extras_of(Picture(np.zeros((*values.shape, 3), np.uint8), values))["alpha"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found 0"),
        (packed(ALPHA)[:-1], "expected 714 values and nothing more, found 714"),
        (packed(ALPHA)[:300], "expected 714 values"),
        (packed(ALPHA) + b"x", "expected 714 values and nothing more, found 714"),
        (packed(ALPHA[1:]), "expected 714 values and nothing more, found 680"),
        (packed(np.vstack([ALPHA, ALPHA])), "found more than 714"),
        (b"\xff" * 100, "the alpha channel is damaged"),
        (bytes(100), "found 0"),
    ],
)
def test_damaged_alpha(data, message):
    with pytest.raises(ValueError, match=message):
        picture_from(COLOURS, {"alpha": data})


def test_mutated_alpha():
    rng = np.random.default_rng(2)
    good = packed(np.clip(ALPHA, 100, 120))
    for _ in range(2000):
        changed = bytearray(good)
        changed[rng.integers(len(good))] ^= 1 << rng.integers(8)
        try:
            picture = picture_from(COLOURS, {"alpha": bytes(changed)})
        except ValueError:
            continue
        assert picture.alpha.shape == ALPHA.shape


def test_alpha_that_explodes():
    """64 MiB of zeros for a small picture: only its own size and the dictionary, 4 MiB."""
    encoder = lzma.LZMACompressor(
        lzma.FORMAT_RAW, filters=[*image_files._ALPHA_FILTERS]
    )
    block = bytes(2**24)
    bomb = b"".join(encoder.compress(block) for _ in range(4)) + encoder.flush()
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="found more than 714"):
        picture_from(COLOURS, {"alpha": bomb})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_unknown_extras():
    with pytest.raises(ValueError, match="depth"):
        picture_from(COLOURS, {"depth": b""})
