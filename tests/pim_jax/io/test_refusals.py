"""Files that are not read right are refused, with a sentence and in little memory."""

import io
import struct
import sys
import tracemalloc
import zlib

import image_matrix
import numpy as np
import PIL.Image
import pytest
import tifffile

from codec_jax import image_files
from pim_jax.data.images import read_image, read_pixels
from pim_jax.io import exif, images

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (2, 13, 9, 3), np.uint8)


def opened(data, **options):
    return images.read(io.BytesIO(data), **options)


def both_refuse(data, path, message):
    path.write_bytes(data)
    for read in (image_files.read, read_image, read_pixels):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"cannot read the image {path}: ")
        assert "\n" not in str(caught.value)


# Several pages or frames.


def several(format):
    frames = [PIL.Image.fromarray(x) for x in COLOURS]
    options = {"lossless": True} if format == "WEBP" else {}
    if format == "AVIF":
        options = {"quality": 100, "subsampling": "4:4:4"}
    stream = io.BytesIO()
    frames[0].save(
        stream, format, save_all=True, append_images=frames[1:], duration=9, **options
    )
    return stream.getvalue()


def deep_pages():
    stream = io.BytesIO()
    deep = COLOURS.astype(np.uint16) * 257
    tifffile.imwrite(stream, deep, photometric="rgb", metadata=None)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF", "AVIF", "deep"])
def test_several_frames_are_refused_unless_one_is_chosen(tmp_path, format):
    data = deep_pages() if format == "deep" else several(format)
    path = tmp_path / "frames"
    both_refuse(data, path, r"several pages or frames \(2\); choose one .*frame=0")
    if format in ("PNG", "WEBP", "TIFF", "deep"):
        for frame in (0, 1):
            picture = image_files.read(path, frame=frame)
            np.testing.assert_array_equal(picture.pixels, COLOURS[frame])
            np.testing.assert_array_equal(
                read_pixels(path, frame=frame), picture.pixels
            )
            expected = COLOURS[frame].astype(np.float32) / 255
            np.testing.assert_allclose(read_image(path, frame=frame), expected, 1e-6)
    for read in (image_files.read, read_image):
        with pytest.raises(ValueError, match=r"frame: found 2, the file has 2"):
            read(path, frame=2)
        with pytest.raises(ValueError, match="expected 0 or more, found -1"):
            read(path, frame=-1)


def test_a_thumbnail_before_the_picture_is_not_taken_for_it(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(COLOURS[0][:4, :3], photometric="rgb", subfiletype=1)
        file.write(COLOURS[1], photometric="rgb")
    with pytest.raises(ValueError, match="several pages or frames"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif", frame=1), COLOURS[1])


# TIFF by hand, with tags that lie.


def tiff(data, bits=16, compression=8, photometric=1, **changes):
    """10 x 10 grey in one strip. Args: changes: values of further or other tags."""
    tags = {256: 10, 257: 10, 258: bits, 259: compression, 262: photometric, 273: 8}
    tags |= {277: 1, 278: 10, 279: len(data)}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    tags = {tag: value for tag, value in tags.items() if value is not None}
    data += bytes(len(data) % 2)
    entries = [struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return start + data + struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)


NOTHING = zlib.compress(bytes(200))
TILED = {"_273": None, "_278": None, "_279": None, "_324": 8, "_325": 20}


def test_the_tiff_by_hand_is_read():
    values = RNG.integers(0, 65536, (10, 10), np.uint16)
    found = opened(tiff(zlib.compress(values.tobytes())))
    np.testing.assert_array_equal(found.samples[:, :, 0], values)
    found = opened(tiff(values.tobytes(), compression=1))
    np.testing.assert_array_equal(found.samples[:, :, 0], values)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_273": 0, "_279": 0}, "parts of its data are missing"),
        ({"_279": 9999}, "parts of its data are missing"),
        ({"_273": 9999}, "parts of its data are missing"),
        ({"_278": 5}, "parts of its data are missing"),
        ({"_256": 60000, "_257": 60000}, "decompression bomb"),
        ({"_257": 0}, "found a TIFF of 10x0"),
        ({"_277": 60000}, "found 59999 more in this TIFF"),
        ({"_262": 2, "_277": 4}, "no channel beyond the colours but alpha"),
        ({"_262": 2, "_277": 4, "_338": 0}, "no channel beyond the colours but alpha"),
        ({"_262": 8}, "found photometric interpretation 8"),
        ({"_262": 6, "_277": 3}, "YCbCr"),
        ({"_258": 12}, "found 12 bits"),
        ({"_258": 64}, "found 64 bits"),
        ({"_339": 3}, "found floating-point samples"),
        ({"_339": 2}, "found signed samples"),
        ({"_259": 12345}, "it is damaged, cut off or of a rare kind"),
        (TILED | {"_322": 65520, "_323": 65520}, "found tiles of"),
        (TILED | {"_322": 0, "_323": 16}, "found tiles of 0"),
    ],
)
def test_tags_that_cannot_be_right(tmp_path, bits, changes, message):
    data = tiff(NOTHING, **({"bits": bits} | changes))
    both_refuse(data, tmp_path / "a.tif", message)


def test_data_that_a_decoder_leaves_out_is_refused():
    """Of strips with more data than they need libtiff decodes a part, silently."""
    with pytest.raises(ValueError, match="missing or damaged"):
        opened(tiff(zlib.compress(RNG.bytes(1000))))


# Bombs.


def png(width, height, bits, data, chunks=b""):
    chunk = image_matrix.chunk
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunks
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_bombs_take_little_memory(bits):
    bomb = zlib.compress(bytes(2**24))
    chunks = [image_matrix.chunk(kind, b"x\0\0" + bomb) for kind in (b"iCCP", b"zTXt")]
    row = zlib.compress(bytes(61))
    files = [
        png(60000, 60000, bits, row),
        *(png(10, 10, bits, row, extra) for extra in chunks),
        tiff(bomb, bits=bits, _256=60000, _257=60000),
        tiff(bomb, bits=bits, _277=65535),
    ]
    tracemalloc.start()
    for data in files:
        with pytest.raises(ValueError, match="cannot read the image"):
            opened(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Colour profiles of 16 MB are read, and unpacking one takes twice its size.
    assert peak < 2.5 * 2**24


def samples_of_all_kinds():
    wanted = (
        *(
            "tiff-16-rgb-tiles-lzw",
            "tiff-16-rgba-planes-zlib",
            "tiff-16-grey-strips-zstd",
        ),
        *("tiff-8-rgb-tiles-zlib", "tiff-8-rgba-planes-None", "tiff-palette-lzw-6"),
        *("tiff-16-rgb->big-predictor-2", "tiff-cmyk-", "tiff-jpeg-ycbcr-1"),
        *("png-6-16-interlaced-6", "png-4-16-3", "png-0-4-keyed-1", "png-3-4-keyed-6"),
        *("gif-7-1", "webp-4-5", "avif-6", "heic-10-4", "jpeg2000-3-12", "jpeg-cmyk"),
        *("bmp-rgb", "ppm-65535-1"),
    )
    found = {case.name: case.data for case in image_matrix.cases()}
    return [found[name] for name in wanted if name in found]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_of_all_kinds_raise_nothing_but_value_errors():
    rng = np.random.default_rng(1)
    refused = 0
    for data in samples_of_all_kinds():
        for _ in range(60):
            changed = bytearray(data)
            # Most often where the structure is: at the beginning or at the end.
            low, high = [(0, 200), (len(data) - 200, len(data)), (0, len(data))][
                rng.integers(3)
            ]
            places = rng.integers(max(low, 0), min(high, len(data)), 2)
            for place in places:
                changed[place] = rng.integers(256)
            if rng.random() < 0.2:
                del changed[rng.integers(len(changed)) :]
            try:
                opened(bytes(changed))
            except ValueError:
                refused += 1
    assert refused > 300


# Decoders that are not installed.


@pytest.mark.parametrize(
    ("module", "name"),
    [("pillow_heif", "heic-8-3"), ("imagecodecs", "tiff-16-rgb-tiles-lzw")],
)
def test_a_missing_decoder_is_named(monkeypatch, module, name):
    data = {case.name: case.data for case in image_matrix.cases()}.get(name)
    if data is None:
        pytest.skip(f"needs {module}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"package {module.replace('_', '-')}"):
        opened(data)


# EXIF.


def jpeg_with(data):
    stream = io.BytesIO()
    PIL.Image.fromarray(COLOURS[0]).save(stream, "JPEG", exif=b"Exif\0\0" + data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data", [b"nothing", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\x7f", b"MM"]
)
def test_exif_that_cannot_be_read_costs_no_picture(tmp_path, data):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(data))
    with pytest.warns(image_files.FileWarning, match=r"a\.jpg: its EXIF data cannot"):
        picture = image_files.read(path)
    assert picture.exif is None
    assert picture.pixels.shape == (13, 9, 3)
    assert read_image(path).shape == (13, 9, 3)


@pytest.mark.parametrize("order", "<>")
def test_exif_becomes_upright_in_place(order):
    """Twice the tag, in the thumbnail's directory as well, and as a long number."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    maker = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0")

    def entry(kind, value):
        packed = {3: "HHIHH", 4: "HHII"}[kind]
        rest = (value, 0) if kind == 3 else (value,)
        return struct.pack(order + packed, 274, kind, 1, *rest)

    first = struct.pack(f"{order}H", 3) + maker + entry(3, 6) + entry(3, 1)
    start = mark + struct.pack(f"{order}I", 8) + first
    second = struct.pack(f"{order}H", 1) + entry(4, 8) + bytes(4)
    data = start + struct.pack(f"{order}I", len(start) + 4) + second + b"notes"
    found, notes = exif.upright(data)
    assert not notes
    assert len(found) == len(data)
    assert found.endswith(b"notes")
    assert maker in found
    assert found.count(entry(3, 1)) == 3
    assert exif.upright(found) == (found, ())
    assert exif.upright(b"Exif\0\0" + data)[0] == found


@pytest.mark.parametrize("format", ["png", "webp", "jpeg", "tiff"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_crafted_orientation_turns_no_written_picture(format, orientation):
    """As a compressed file may bring it, which anybody can write."""
    smooth = image_matrix.smooth_colours()
    crafted = image_matrix.exif_of(orientation)
    picture = image_files.picture_from(smooth, {"exif": crafted})
    stream = io.BytesIO()
    image_files.write(picture, stream, format)
    with PIL.Image.open(stream) as image:
        assert image.getexif().get(274, 1) == 1
    found = image_files.read(io.BytesIO(stream.getvalue())).pixels
    assert found.shape == smooth.shape
    assert np.abs(found.astype(int) - smooth).max() <= (4 if format == "jpeg" else 0)


# Profiles.


@pytest.mark.parametrize("alpha", [None, np.full((1, 256), 9, np.uint8)])
def test_a_grey_profile_becomes_srgb_in_webp(alpha):
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    profile = image_matrix.grey_profile(1.8)
    picture = image_files.Picture(ramp, alpha, grey=True, icc=profile)
    stream = io.BytesIO()
    image_files.write(picture, stream, "webp")
    found = image_files.read(io.BytesIO(stream.getvalue()))
    assert found.icc is None
    light = (np.arange(256) / 255) ** 1.8
    srgb = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    assert np.abs(found.pixels[0] - 255 * srgb[:, None]).max() < 2
    np.testing.assert_array_equal(found.alpha, alpha)
    for format in ("png", "tiff"):
        stream = io.BytesIO()
        image_files.write(picture, stream, format)
        found = image_files.read(io.BytesIO(stream.getvalue()))
        assert found.icc == profile
        np.testing.assert_array_equal(found.pixels, ramp)


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "jpeg"])
def test_a_profile_of_another_colour_space_is_not_written(format):
    profile = image_matrix.grey_profile()
    stream = io.BytesIO()
    image_files.write(image_files.Picture(COLOURS[0], icc=profile), stream, format)
    assert image_files.read(io.BytesIO(stream.getvalue())).icc is None


def test_cmyk_with_a_profile_that_is_none(tmp_path):
    inks = PIL.Image.new("CMYK", (9, 13))
    inks.save(tmp_path / "a.jpg", icc_profile=image_matrix.grey_profile())
    data = (tmp_path / "a.jpg").read_bytes()
    both_refuse(data, tmp_path / "a.jpg", "the profile of its CMYK cannot be used")
