"""Small files of every kind that people have, with what is in them by definition.

TIFF by tifffile, PNG by hand, the rest by Pillow, imagecodecs and pillow-heif: the values
come from the arrays that are written, so a reader is checked against nothing of its own.
"""

import functools
import io
import itertools
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import tifffile

HEIGHT, WIDTH = 13, 9
ORIENTATION = 274
# How an upright array is stored under each orientation, by the definition of EXIF: what
# the first row and the first column of the file are.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],  # right to left
    3: lambda x: x[::-1, ::-1],  # from the bottom right
    4: lambda x: x[::-1],  # from the bottom
    5: lambda x: x.swapaxes(0, 1),  # columns first
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}
KINDS = {"grey": 1, "grey-alpha": 2, "rgb": 3, "rgba": 4}


class Case(NamedTuple):
    """A file and its content: samples (h, w, 1 or 3) and alpha in [0, 1]."""

    name: str
    data: bytes
    samples: np.ndarray
    alpha: np.ndarray | None = None
    tolerance: float = 0.0


@functools.cache
def cases() -> tuple[Case, ...]:
    return (*tiff(), *png(), *others())


def values(channels: int, bits: int, seed: int = 0) -> np.ndarray:
    """Random samples of so many bits, with the extremes and opaque and clear pixels."""
    rng = np.random.default_rng([seed, channels, bits])
    dtype = np.uint16 if bits > 8 else np.uint8
    samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, channels)).astype(dtype)
    samples[0, 0], samples[0, 1] = 0, 2**bits - 1
    return samples


def case(
    name: str, data: bytes, samples: np.ndarray, bits: int, tolerance: float = 0.0
) -> Case:
    """With alpha as the last of two or four channels."""
    scaled = samples.astype(np.float64) / (2**bits - 1)
    if samples.shape[2] in (1, 3):
        return Case(name, data, scaled, None, tolerance)
    return Case(name, data, scaled[:, :, :-1], scaled[:, :, -1], tolerance)


# TIFF.


def tiff_bytes(samples: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    samples = samples[:, :, 0] if samples.shape[2] == 1 else samples
    if options.get("planarconfig") == "separate":
        samples = np.moveaxis(samples, 2, 0)
    tifffile.imwrite(stream, samples, metadata=None, software=False, **options)
    return stream.getvalue()


def tiff_options(channels: int) -> dict[str, Any]:
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    return {"photometric": "rgb" if channels > 2 else "minisblack"} | extra


def turned(orientation: int) -> dict[str, Any]:
    return {"extratags": [(ORIENTATION, "H", 1, orientation, True)]}


def tiff():
    compressions = (None, "zlib", "lzw", "zstd", "lzma", "packbits")
    layouts = {
        "strips": {"rowsperstrip": 4},
        "tiles": {"tile": (16, 16)},
        "planes": {"rowsperstrip": 4, "planarconfig": "separate"},
        "tiled-planes": {"tile": (16, 16), "planarconfig": "separate"},
    }
    for (kind, channels), bits in itertools.product(KINDS.items(), (8, 16)):
        samples, options = values(channels, bits), tiff_options(channels)
        start = f"tiff-{bits}-{kind}"
        for (layout, more), packed in itertools.product(layouts.items(), compressions):
            if "planes" in layout and channels == 1:
                continue
            data = tiff_bytes(samples, **options, **more, compression=packed)
            yield case(f"{start}-{layout}-{packed}", data, samples, bits)
        for way, (layout, more) in itertools.product(range(2, 9), layouts.items()):
            if layout != "strips" and (channels % 2 == 0 or way not in (5, 6)):
                continue
            if "planes" in layout and channels == 1:
                continue
            stored = np.ascontiguousarray(STORED[way](samples))
            data = tiff_bytes(stored, **options, **more, **turned(way))
            yield case(f"{start}-{layout}-turned-{way}", data, samples, bits)
        for order, big, predictor in itertools.product("<>", (False, True), (1, 2)):
            data = tiff_bytes(
                samples,
                **options,
                byteorder=order,
                bigtiff=big,
                compression="zlib",
                predictor=predictor == 2,
            )
            name = f"{start}-{order}{'big' * big}-predictor-{predictor}"
            yield case(name, data, samples, bits)
        if channels < 3:
            inverse = samples.copy()
            inverse[:, :, 0] = 2**bits - 1 - samples[:, :, 0]
            inverted = options | {"photometric": "miniswhite"}
            for layout, packed in itertools.product(("strips", "tiles"), (None, "lzw")):
                more = layouts[layout] | {"compression": packed}
                data = tiff_bytes(inverse, **inverted, **more)
                yield case(
                    f"{start}-min-is-white-{layout}-{packed}", data, samples, bits
                )
    yield from associated_tiff()
    yield from shallow_tiff()
    yield from palette_tiff()
    yield from print_tiff()


def associated_tiff():
    for channels, bits in itertools.product((2, 4), (8, 16)):
        white = 2**bits - 1
        samples = values(channels, bits)
        alpha = samples[:, :, -1:].astype(np.int64)
        colours = samples[:, :, :-1].astype(np.int64) * alpha // white
        stored = np.concatenate([colours, alpha], axis=2).astype(samples.dtype)
        expected = colours / np.maximum(alpha, 1)
        options = tiff_options(channels) | {"extrasamples": ["assocalpha"]}
        for layout in ({}, {"tile": (16, 16)}, turned(6)):
            turn = STORED[6] if "extratags" in layout else STORED[1]
            data = tiff_bytes(np.ascontiguousarray(turn(stored)), **options, **layout)
            name = f"tiff-{bits}-associated-{channels}-{'-'.join(layout)}"
            # Pillow divides by cutting off, not by rounding.
            tolerance = 1 / white
            yield Case(name, data, expected, alpha[:, :, 0] / white, tolerance)


def shallow_tiff():
    for bits, way in itertools.product((1, 2, 4), (1, 3, 6)):
        samples = values(1, bits)
        stored = np.ascontiguousarray(STORED[way](samples))
        if bits == 1:
            for packed, white in itertools.product((None, "packbits", "lzw"), (0, 1)):
                data = tiff_bytes(
                    (stored if white else 1 - stored).astype(bool),
                    photometric="minisblack" if white else "miniswhite",
                    compression=packed,
                    **turned(way),
                )
                name = f"tiff-1-{packed}-{'black' if white else 'white'}-{way}"
                yield case(name, data, samples, bits)
            continue
        for white in (0, 1):
            data = packed_tiff(
                stored if white else 2**bits - 1 - stored, bits, way, white
            )
            yield case(f"tiff-{bits}-photometric-{white}-{way}", data, samples, bits)
    for packed in ("group3", "group4", "tiff_lzw", "tiff_deflate"):
        bilevel, stream = values(1, 1), io.BytesIO()
        image = PIL.Image.fromarray(bilevel[:, :, 0].astype(bool))
        image.save(stream, "TIFF", compression=packed)
        yield case(f"tiff-1-pillow-{packed}", stream.getvalue(), bilevel, 1)


def packed_tiff(
    samples: np.ndarray, bits: int, orientation: int, photometric: int
) -> bytes:
    """By hand, since tifffile leaves fewer than 8 bits to others: one strip, no packing."""
    height, width = samples.shape[:2]
    data = packed_rows(samples.reshape(height, width), bits)
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (274, 3, orientation),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
    ]
    data += bytes(len(data) % 2)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    directory = b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    return start + data + struct.pack("<H", len(entries)) + directory + bytes(4)


def packed_rows(rows: np.ndarray, bits: int, filter_type: bytes = b"") -> bytes:
    """Samples of 1, 2, 4, 8 or 16 bits, each row from a new byte."""
    if bits >= 8:
        return b"".join(
            filter_type + row.astype(f">u{bits // 8}").tobytes() for row in rows
        )
    places = np.arange(bits - 1, -1, -1)
    ones = (rows[:, :, None] >> places & 1).reshape(len(rows), -1).astype(np.uint8)
    return b"".join(filter_type + row.tobytes() for row in np.packbits(ones, axis=1))


def palette_tiff():
    rng = np.random.default_rng(1)
    table = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    index = values(1, 8)
    samples = table[index[:, :, 0]]
    options = {"photometric": "palette", "colormap": table.T.astype(np.uint16) * 257}
    for packed, way in itertools.product((None, "zlib", "lzw"), range(1, 9)):
        stored = np.ascontiguousarray(STORED[way](index))
        data = tiff_bytes(stored, **options, compression=packed, **turned(way))
        yield case(f"tiff-palette-{packed}-{way}", data, samples, 8)
    data = tiff_bytes(index, **options, tile=(16, 16))
    yield case("tiff-palette-tiles", data, samples, 8)


def print_tiff():
    inks = values(4, 8)
    rest = 255.0 - inks
    samples = rest[:, :, :3] * rest[:, :, 3:] / 255**2
    for more in (
        {},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
    ):
        data = tiff_bytes(inks, photometric="separated", **more)
        name = f"tiff-cmyk-{'-'.join(more)}"
        yield Case(name, data, samples, None, 1 / 255)
    smooth = smooth_colours()
    data = tiff_bytes(smooth, photometric="rgb", compression="jpeg")
    yield case("tiff-jpeg-rgb", data, smooth, 8, 12 / 255)
    data = tiff_bytes(smooth[:, :, :1], photometric="minisblack", compression="jpeg")
    yield case("tiff-jpeg-grey", data, smooth[:, :, :1], 8, 12 / 255)
    # Whole tiles: at the edge of others JPEG mixes in what pads them.
    whole = smooth_colours(16, 32)
    luma = np.asarray(PIL.Image.fromarray(whole).convert("YCbCr"))
    for way, more in itertools.product((1, 3, 6), ({}, {"tile": (16, 16)})):
        stored = np.ascontiguousarray(STORED[way](luma))
        options = {"photometric": "ycbcr", "compression": "jpeg"} | turned(way)
        data = tiff_bytes(stored, **options, **more)
        yield case(f"tiff-jpeg-ycbcr-{way}{'-'.join(more)}", data, whole, 8, 12 / 255)


def smooth_colours(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """For codecs with losses."""
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * y + 40, 5 * x + 60, 4 * y + 3 * x], axis=2).astype(np.uint8)


# PNG.


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def exif_of(orientation: int) -> bytes:
    return struct.pack(
        ">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, orientation, 0, 0
    )


def png_bytes(
    samples: np.ndarray,
    bits: int,
    colour: int,
    interlaced: bool = False,
    chunks: bytes = b"",
) -> bytes:
    """A PNG of any kind. Args: chunks: between the header and the data."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    passes = [samples]
    if interlaced:
        steps = ["00 88", "04 88", "40 84", "02 44", "20 42", "01 22", "10 21"]
        passes = [
            samples[int(s[0]) :: int(s[3]), int(s[1]) :: int(s[4])] for s in steps
        ]
    rows = b"".join(
        packed_rows(part.reshape(len(part), -1), bits, b"\0")
        for part in passes
        if part.size
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunks
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png():
    kinds = [
        *((0, bits) for bits in (1, 2, 4, 8, 16)),
        *((3, bits) for bits in (1, 2, 4, 8)),
        *((colour, bits) for colour in (2, 4, 6) for bits in (8, 16)),
    ]
    for (colour, bits), interlaced, keyed in itertools.product(
        kinds, (False, True), (False, True)
    ):
        if keyed and colour in (4, 6):
            continue
        for way in range(1, 9) if colour != 3 or bits == 4 else (1, 6):
            yield one_png(colour, bits, interlaced, keyed, way)


def one_png(colour: int, bits: int, interlaced: bool, keyed: bool, way: int) -> Case:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stored, chunks, depth = values(channels, bits), b"", bits
    if keyed and bits == 16:
        # Alike in their upper halves, so that 8 bits cannot tell them apart.
        stored[3, 4] = stored[5, 6] ^ 1
    samples, alpha = stored, None
    if colour == 3:
        rng = np.random.default_rng(bits)
        table = rng.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        chunks += chunk(b"PLTE", table.tobytes())
        samples, depth = table[stored[:, :, 0]], 8
        if keyed:
            opacity = rng.integers(0, 256, 2**bits).astype(np.uint8)
            opacity[0] = 0
            chunks += chunk(b"tRNS", opacity.tobytes())
            alpha = opacity[stored[:, :, 0]]
    elif keyed:
        key = stored[3, 4]
        chunks += chunk(b"tRNS", key.astype(">u2").tobytes())
        alpha = np.where((stored == key).all(axis=2), 0, 2**bits - 1)
    if way > 1:
        chunks += chunk(b"eXIf", exif_of(way))
    if alpha is not None:
        samples = np.dstack([samples, alpha.astype(samples.dtype)])
    data = png_bytes(
        np.ascontiguousarray(STORED[way](stored)), bits, colour, interlaced, chunks
    )
    name = f"png-{colour}-{bits}-{'interlaced-' * interlaced}{'keyed-' * keyed}{way}"
    return case(name, data, samples, depth)


# The rest.


def saved(samples: np.ndarray, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    samples = samples[:, :, 0] if samples.shape[2] == 1 else samples
    image = PIL.Image.fromarray(np.ascontiguousarray(samples))
    image.save(stream, format, **options)
    return stream.getvalue()


def others():
    import imagecodecs

    for kind, formats in {
        "grey": ("BMP", "PPM", "JPEG2000"),
        "grey-alpha": ("JPEG2000",),
        "rgb": ("BMP", "PPM", "JPEG2000"),
        "rgba": ("JPEG2000",),
    }.items():
        for format in formats:
            samples = values(KINDS[kind], 8)
            name = f"{format.lower()}-{kind}"
            yield case(name, saved(samples, format), samples, 8)
    yield from gif()
    for channels, way in itertools.product((3, 4), range(1, 9)):
        samples = values(channels, 8)
        exif = b"Exif\0\0" + exif_of(way)
        data = saved(STORED[way](samples), "WEBP", lossless=True, exact=True, exif=exif)
        yield case(f"webp-{channels}-{way}", data, samples, 8)
    smooth = smooth_colours()
    for channels, way in itertools.product((1, 3), range(1, 9)):
        samples = smooth[:, :, :channels]
        exif = b"Exif\0\0" + exif_of(way)
        stored = STORED[way](samples)
        data = saved(stored, "JPEG", quality=100, subsampling=0, exif=exif)
        yield case(f"jpeg-{channels}-{way}", data, samples, 8, 4 / 255)
        if channels == 3:
            data = saved(stored, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
            yield case(f"avif-{way}", data, samples, 8, 6 / 255)
    inks = np.dstack([smooth, smooth[:, :, 0] // 2])
    stream = io.BytesIO()
    PIL.Image.fromarray(inks, "CMYK").save(stream, "JPEG", quality=100, subsampling=0)
    rest = (255.0 - inks) / 255
    samples = rest[:, :, :3] * rest[:, :, 3:]
    yield Case("jpeg-cmyk", stream.getvalue(), samples, None, 4 / 255)
    for channels, bits in itertools.product((1, 3), (4, 8, 10, 12, 16)):
        samples = values(channels, bits)
        squeezed = samples[:, :, 0] if channels == 1 else samples
        data = imagecodecs.jpeg2k_encode(
            squeezed, level=0, reversible=True, bitspersample=bits
        )
        tolerance = 0.0 if bits in (4, 8, 16) else 0.5 / 65535
        yield case(f"jpeg2000-{channels}-{bits}", data, samples, bits, tolerance)
    for maximum, channels in itertools.product((255, 65535), (1, 3)):
        bits = 8 if maximum == 255 else 16
        samples = values(channels, bits)
        head = f"P{5 if channels == 1 else 6} {WIDTH} {HEIGHT} {maximum}\n".encode()
        data = head + samples.astype(">u2" if bits == 16 else ">u1").tobytes()
        # Pillow rounds colours to eight bits.
        tolerance = 0.501 / 255 if bits == 16 and channels == 3 else 0.0
        yield case(f"ppm-{maximum}-{channels}", data, samples, bits, tolerance)
    yield from heic(smooth)


def gif():
    rng = np.random.default_rng(2)
    table = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    index = values(1, 8)[:, :, 0]
    image = PIL.Image.fromarray(index, "L")
    image.putpalette(table.tobytes())  # and so becomes "P"
    for clear, interlace in itertools.product((None, 7), (0, 1)):
        stream = io.BytesIO()
        options = {} if clear is None else {"transparency": int(index[clear, 3])}
        image.save(stream, "GIF", interlace=interlace, optimize=False, **options)
        samples = table[index]
        if clear is not None:
            alpha = np.where(index == index[clear, 3], 0, 255).astype(np.uint8)
            samples = np.dstack([samples, alpha])
        yield case(f"gif-{clear}-{interlace}", stream.getvalue(), samples, 8)


def heic(smooth: np.ndarray):
    try:
        import pillow_heif
    except ImportError:
        return
    for bits, channels in itertools.product((8, 10), (3, 4)):
        alpha = np.full_like(smooth[:, :, :1], 200)
        samples = np.dstack([smooth, alpha]) if channels == 4 else smooth
        stored = samples if bits == 8 else samples.astype(np.uint16) * 257
        mode = ("RGB" if channels == 3 else "RGBA") + ";16" * (bits > 8)
        image = pillow_heif.from_bytes(mode, (WIDTH, HEIGHT), stored.tobytes())
        stream = io.BytesIO()
        image.save(stream, quality=100, chroma=444, matrix_coefficients=0)
        yield case(f"heic-{bits}-{channels}", stream.getvalue(), samples, 8, 3 / 255)


def grey_profile(gamma: float = 1.8) -> bytes:
    """An ICC profile of one channel, whose intensity is its value to a power."""
    white = struct.pack(">3i", *(round(x * 65536) for x in (0.9642, 1.0, 0.8249)))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    table, content, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI",
        *(start + len(content), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ "),
        *(2020, 1, 1, 0, 0, 0, b"acsp", b"", 0, b"", b"", 0, 0),
    )
    body = header + white + bytes(48) + struct.pack(">I", len(tags)) + table + content
    return body
