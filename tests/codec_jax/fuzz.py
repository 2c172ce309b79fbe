"""Damaged files by the million: `python -m tests.codec_jax.fuzz --count=1000000`.

Runs a decoder over mutations of good files. It may return, or raise ValueError; anything
else is a bug, and stops the run with the bytes that did it. The decoder is the
container's, or with --codec=NAME_OR_FILE that of a whole codec, up to the picture.
"""

import argparse
import collections
import itertools
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from codec_jax import image_files, loading
from codec_jax.coding.bitstream import Packet, pack, unpack
from codec_jax.trained import TrainedCodec

FINGERPRINT = bytes.fromhex("0badcafe")
# Small ones, so that mutations often hit a header; of every layout that there is.
SAMPLES = tuple(
    pack(Packet("msh4", FINGERPRINT, height, width, rate, strings, extras))
    for height, width, rate, strings, extras in [
        (1, 1, 0, (b"",), {}),
        (512, 768, 300, (b"side", b"the rest of it"), {}),
        (2**24, 2**24, 65535, (bytes(300), bytes(range(100))), {"grey": b""}),
        (300, 200, 7, tuple(bytes(n) for n in (3, 0, 200, 5)), {}),
        (9, 8, 7, (b"x", b"y"), {"alpha": b"\0" * 20, "icc": b"p" * 200, "exif": b"e"}),
    ]
)

# Pixels: files that ask for more are refused. Programs are compiled for each number of
# rows and columns of latents, and there are two dozen of these below.
LARGEST_IMAGE = 192
_SIZES = ((1, 1), (12, 16), (3, 60), (17, 9))


class Report(NamedTuple):
    returned: int  # the decoder took the bytes
    refused: collections.Counter[str]  # first words of the message -> how often
    seconds: float
    slowest: float  # seconds of one call


def mutations(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Endless mutations of a file, most small; half have a right checksum again.

    Args:
      data: a file that ends with its checksum.
      others: more files, to splice with.
    """
    files = [data, *others]
    while True:
        mutated = data
        for _ in range(rng.integers(1, 4)):
            kind = MUTATIONS[rng.integers(len(MUTATIONS))]
            mutated = kind(mutated, rng, files[rng.integers(len(files))])
        yield with_checksum(mutated) if rng.random() < 0.5 else mutated


def with_checksum(data: bytes) -> bytes:
    """The same bytes with the last four made right."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "big")


def run(
    decode: Callable[[bytes], object],
    samples: Sequence[bytes],
    count: int,
    rng: np.random.Generator,
) -> Report:
    """Drives a decoder over `count` mutations of the samples.

    Raises:
      AssertionError: it raised something else than ValueError; the message has the bytes.
    """
    streams = [mutations(sample, rng, samples) for sample in samples]
    returned, refused, slowest = 0, collections.Counter[str](), 0.0
    start = time.perf_counter()
    for stream in itertools.islice(itertools.cycle(streams), count):
        data = next(stream)
        before = time.perf_counter()
        try:
            decode(data)
            returned += 1
        except ValueError as error:
            refused[first_words(error)] += 1
        except Exception as error:
            raise AssertionError(f"{error!r} for {data.hex()}") from error
        slowest = max(slowest, time.perf_counter() - before)
    return Report(returned, refused, time.perf_counter() - start, slowest)


def first_words(error: ValueError) -> str:
    """A message up to the first thing found, to count alike ones together."""
    message = re.sub(r"\d+", "#", str(error))
    return re.split(r"[,:]? (?:found|with|is|has|expected)\b| ['#]", message)[0]


def unpack_exactly(data: bytes) -> Packet:
    """Like `unpack`; AssertionError if the packet has another form as well."""
    packet = unpack(data)
    assert pack(packet) == data, "packs to other bytes"
    return packet


def decoder_of(codec: TrainedCodec) -> Callable[[bytes], object]:
    """From a file to the picture that is shown; AssertionError if that is none."""

    def decode(data: bytes) -> image_files.Picture:
        pixels = codec.decompress(data, largest_image=LARGEST_IMAGE)
        packet = unpack(data)
        assert pixels.shape == (packet.height, packet.width, 3), pixels.shape
        assert pixels.dtype == np.uint8, pixels.dtype
        return image_files.picture_from(pixels, packet.extras)

    return decode


def samples_of(codec: TrainedCodec) -> tuple[bytes, ...]:
    """Small pictures of noise at several rates, some with everything beside them."""
    rng = np.random.default_rng(0)
    files = []
    for number, size in enumerate(_SIZES):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        picture = image_files.Picture(pixels)
        if number % 2:
            alpha = rng.integers(0, 256, size, np.uint8)
            picture = image_files.Picture(pixels, alpha, icc=b"p" * 9, exif=b"e" * 9)
        rate = codec.rates[-1] * number / (len(_SIZES) - 1)
        extras = image_files.extras_of(picture)
        files.append(codec.compress(pixels, rate, extras=extras))
    return tuple(files)


def main(
    arguments: Sequence[str] | None = None,
    decode: Callable[[bytes], object] = unpack_exactly,
    samples: Sequence[bytes] = SAMPLES,
) -> int:
    """Runs it and prints the counts.

    Args:
      arguments: in place of those of the process.
      decode, samples: what is run without --codec.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codec", help="a name, or a file or folder of weights")
    options = parser.parse_args(arguments)
    if options.codec:
        codec = loading.load(options.codec)
        decode, samples = decoder_of(codec), samples_of(codec)
    rng = np.random.default_rng(options.seed)
    report = run(decode, samples, options.count, rng)
    for message, times in report.refused.most_common():
        print(f"{times:9d}  {message}")
    print(f"{report.returned:9d}  returned")
    print(f"{report.seconds:.1f} s in all, {1000 * report.slowest:.1f} ms the slowest")
    return 0


def _flip(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    place, count = _place(data, rng), int(rng.integers(1, 9))
    return data[:place] + rng.bytes(count) + data[place + count :]


def _truncate(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _delete(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 9)) :]


def _insert(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]


def _repeat(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    a, b = sorted(map(int, rng.integers(0, len(data) + 1, 2)))
    return data[:b] + data[a:]


def _splice(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _huge_number(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A number of 1 to 12 bytes in the header, written as the format's are."""
    length = int(rng.integers(1, 13))
    number = bytes(0x80 | b for b in rng.bytes(length - 1)) + bytes([rng.integers(128)])
    place = int(rng.integers(4, 40))
    return data[:place] + number + data[place + int(rng.integers(length + 1)) :]


def _padded_number(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A byte of the header says that one more follows, which is zero."""
    place = int(rng.integers(4, 40))
    if place >= len(data):
        return data
    return data[:place] + bytes([data[place] | 0x80, 0]) + data[place + 1 :]


def _random(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Nothing of the file, or its magic and version alone."""
    return data[: 4 * int(rng.integers(2))] + rng.bytes(int(rng.integers(64)))


def _place(data: bytes, rng: np.random.Generator) -> int:
    """Half of the time among the first forty bytes, where the header is."""
    end = min(len(data), 40) if rng.random() < 0.5 else len(data)
    return int(rng.integers(end)) if end else 0


MUTATIONS = (
    _flip,
    _overwrite,
    _truncate,
    _delete,
    _insert,
    _repeat,
    _splice,
    _huge_number,
    _padded_number,
    _random,
)

if __name__ == "__main__":
    sys.exit(main())
