"""The container: every byte, every limit, and nothing but ValueError for damaged ones."""

import dataclasses
import re
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from codec_jax.coding import bitstream
from codec_jax.coding.bitstream import DamagedFileError, Packet, pack, unpack
from tests.codec_jax import fuzz

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "format.md"
FINGERPRINT = bytes.fromhex("0badcafe")
PLAIN = Packet("msh4", FINGERPRINT, 512, 768, 300, (b"side", b"the rest of it"))


def with_checksum(body):
    return body + zlib.crc32(body).to_bytes(4, "big")


def reference_varint(value):
    """From its binary digits, unlike the code."""
    digits = f"{value:b}"
    groups = [digits[max(0, end - 7) : end] for end in range(len(digits), 0, -7)]
    more = [0x80] * (len(groups) - 1) + [0]
    return bytes(int(g, 2) | m for g, m in zip(groups, more, strict=True))


def random_packet(rng):
    def text(most):
        return rng.bytes(int(rng.integers(most)))

    characters = "abcdefghijklmnopqrstuvwxyz0123456789.-"
    name = rng.choice(list(characters), rng.integers(1, 33))
    side = [int(2 ** rng.uniform(0, 24)) for _ in range(2)]
    extras = {tag: text(300) for tag in bitstream.EXTRAS if rng.random() < 0.3}
    if "grey" in extras:
        extras["grey"] = b""
    # Most often few, of any length around the limits of one, two and three bytes.
    count = int(rng.choice([1, 2, 3, 50]))
    strings = tuple(bytes(int(2 ** rng.uniform(0, 15)) - 1) for _ in range(count))
    rate = int(rng.integers(2**16))
    return Packet("".join(name), rng.bytes(4), *side, rate, strings, extras)


def test_any_packet_comes_back():
    rng = np.random.default_rng(0)
    for _ in range(300):
        packet = random_packet(rng)
        data = pack(packet)
        assert unpack(data) == packet
        assert pack(unpack(data)) == data


def test_the_example_in_the_document():
    text = DOCUMENT.read_text(encoding="utf-8")
    (block,) = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    data = b"".join(bytes.fromhex(line[:22]) for line in block.splitlines())
    packet = Packet(
        model="msh4",
        fingerprint=FINGERPRINT,
        height=512,
        width=768,
        rate=300,
        strings=(bytes.fromhex("a1b2c3"), bytes.fromhex("d4e5f607")),
        extras={"grey": b"", "icc": b"profile"},
    )
    assert pack(packet) == data
    assert unpack(data) == packet


def test_layouts_written_by_hand():
    def expected(flags, rest):
        head = b"msh\xb4" + FINGERPRINT + b"\x01\x2c\x01\x02"
        return with_checksum(b"\xc3JX" + bytes([flags]) + head + rest)

    def packed(*strings, **extras):
        return pack(Packet("msh4", FINGERPRINT, 1, 2, 300, strings, extras))

    assert packed(b"") == expected(0x11, b"")
    assert packed(b"abc") == expected(0x11, b"abc")
    assert packed(b"", b"abc") == expected(0x21, b"\0abc")
    assert packed(b"x" * 30, b"abc") == expected(0x41, b"\2" + b"x" * 30 + b"abc")
    assert packed(b"a", b"", b"bc") == expected(0x01, b"\3\1\0abc")
    assert packed(b"a", grey=b"") == expected(0x19, b"\1a")
    assert packed(b"a", exif=b"E", alpha=b"") == expected(0x19, b"\x0a\0\1Ea")


@pytest.mark.parametrize("first", [0, 1, 127, 1791, 1792, 16384, 229375])
def test_overhead_of_one_picture(first):
    """24 bytes at most; a first string of 229375 bytes is 0.029 bits per pixel here."""
    for side in (1, 127, 128, 8000):
        packet = Packet("msh4", FINGERPRINT, side, side, 65535, (bytes(first), b"abc"))
        overhead = len(pack(packet)) - first - 3
        assert overhead <= (23 if first < 1792 else 24)
        alone = dataclasses.replace(packet, strings=(b"abc",))
        assert len(pack(alone)) - 3 <= 22


def test_overhead_of_many_strings():
    """Thousands of tiles: two bytes for each length, and no time to speak of."""
    strings = tuple(bytes(1000 + n % 5000) for n in range(5000))
    packet = Packet("msh4", FINGERPRINT, 8000, 8000, 1, strings)
    data = pack(packet)
    assert len(data) - sum(map(len, strings)) <= 24 + 2 * 5000
    assert unpack(data) == packet


def test_varints_against_binary_digits():
    numbers = [2**k + d for k in range(25) for d in (-1, 0, 1)]
    for number in numbers:
        if 1 <= number <= 2**24:
            packet = dataclasses.replace(PLAIN, height=number, width=2**24)
            expected = reference_varint(number) + b"\x80\x80\x80\x08"
            assert pack(packet)[14:].startswith(expected)
            assert unpack(pack(packet)).height == number


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "model: expected 1 to 32 characters"),
        ({"model": "a" * 33}, "model: expected 1 to 32 characters"),
        ({"model": "Big"}, "found 'Big'"),
        ({"model": "ä"}, "found 'ä'"),
        ({"model": b"msh4"}, "found b'msh4'"),
        ({"fingerprint": b"abc"}, "fingerprint: expected 4 bytes, found 3"),
        ({"fingerprint": "abcd"}, "fingerprint: expected bytes, found str"),
        ({"height": 0}, "height: expected 1 to 16777216, found 0"),
        ({"width": 2**24 + 1}, "width: expected 1 to 16777216, found 16777217"),
        ({"width": 7.0}, "width: expected 1 to 16777216, found 7.0"),
        ({"rate": -1}, "rate: expected 0 to 65535, found -1"),
        ({"rate": 65536}, "rate: expected 0 to 65535, found 65536"),
        ({"strings": ()}, "number of strings: expected 1 to 1048576, found 0"),
        ({"strings": (b"",) * (2**20 + 1)}, "expected 1 to 1048576, found 1048577"),
        ({"strings": [b"a"]}, "strings: expected a tuple of bytes, found list"),
        ({"strings": ("a",)}, "strings: expected bytes, found str"),
        ({"extras": {"depth": b""}}, "found 'depth'"),
        ({"extras": {"icc": None}}, "icc: expected bytes, found NoneType"),
        ({"extras": {"grey": b"1"}}, "grey: expected no data, found 1 bytes"),
        ({"extras": b"icc"}, "extras: expected a mapping, found bytes"),
    ],
)
def test_no_packet_breaks_a_rule(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(PLAIN, **changes)


def test_a_packet_does_not_change_with_what_it_was_made_of():
    extras = {"icc": b"profile"}
    packet = dataclasses.replace(PLAIN, extras=extras)
    extras["depth"] = b""
    assert unpack(pack(packet)).extras == {"icc": b"profile"}
    with pytest.raises(TypeError):
        packet.extras["exif"] = b""


HEAD = b"\xc3JX\x21msh\xb4" + FINGERPRINT + b"\x01\x2c"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (HEAD + b"\x80\x04\x80\x06\0", None),
        (HEAD + b"\0\1\0", "height: expected 1 to 16777216, found 0"),
        (HEAD + b"\1\0\0", "width: expected 1 to 16777216, found 0"),
        (HEAD + b"\x81\0\1\0", "height: 1 is written with more bytes than it needs"),
        (HEAD + b"\x81\x80\x80\x08\1\0", "height: expected 16777216 at most, found"),
        (HEAD + b"\1" + b"\xff" * 50, "width: expected 16777216 at most, found"),
        (HEAD + b"\1" + b"\x80" * 50, "width: expected 16777216 at most, found"),
        (HEAD + b"\1\1\1abc", "string: expected 14 bytes, found 3"),
        (HEAD + b"\1\1\4abc", "string: expected 56 bytes, found 3"),
        (HEAD + b"\1\1", "length of first string: expected 1 bytes, found 0"),
        (HEAD + b"\x80\x80\x80", "height: expected 1 bytes, found 0"),
        (b"\xc3JX\x21MSH\xb4" + HEAD[8:] + b"\1\1\0", "found 'MSH4'"),
        (b"\xc3JX\x21\xff" + HEAD[8:] + b"\1\1\0", r"found '\x7f'"),
        (b"\xc3JX\x21" + b"a" * 33 + HEAD[8:] + b"\1\1\0", "more than 32 characters"),
        (b"\xc3JX\x29" + HEAD[4:] + b"\1\1\0\0", "extras: expected some of"),
        (b"\xc3JX\x29" + HEAD[4:] + b"\1\1\x10\0", "found the bits 0b00010000"),
        (b"\xc3JX\x29" + HEAD[4:] + b"\1\1\4\5abc", "icc: expected 5 bytes, found 3"),
        (b"\xc3JX\x01" + HEAD[4:] + b"\1\1\2\0", "expected 3 or more here, found 2"),
        (b"\xc3JX\x01" + HEAD[4:] + b"\1\1\1", "expected 3 or more here, found 1"),
        (
            b"\xc3JX\x01" + HEAD[4:] + b"\1\1\x84\1\0",
            "strings: found 132 with 1 bytes left",
        ),
        (
            b"\xc3JX\x01" + HEAD[4:] + b"\1\1\3\0\5abc",
            "string: expected 5 bytes, found 3",
        ),
        (
            b"\xc3JX\x22" + HEAD[4:] + b"\1\1\0",
            "version 2; this program reads version 1",
        ),
        (
            b"\xc3JX\x20" + HEAD[4:] + b"\1\1\0",
            "version 0; this program reads version 1",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "not a .cjx file: it begins with 89 50 4e"),
        (b"\xc3JX\x21", "it has 8 bytes, the shortest has 17"),
    ],
)
def test_damage_behind_a_right_checksum(body, message):
    data = with_checksum(body)
    if message is None:
        assert pack(unpack(data)) == data
        return
    with pytest.raises(DamagedFileError, match=re.escape(message)):
        unpack(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\xc3", "not a .cjx file: it begins with c3, expected c3 4a 58"),
        (b"\xc3JX", "it has 3 bytes"),
        (pack(PLAIN)[:-1], "its checksum is"),
        (pack(PLAIN) + b"\n", "it was changed, cut off or continued"),
        (pack(PLAIN).replace(b"rest", b"test"), "its checksum is"),
        ("\xc3JX", "expected bytes, found str"),
        (None, "expected bytes, found NoneType"),
    ],
)
def test_other_damage(data, message):
    with pytest.raises(DamagedFileError, match=re.escape(message)):
        unpack(data)


def test_the_shortest_file():
    data = pack(Packet("a", FINGERPRINT, 1, 1, 0, (b"",)))
    assert len(data) == 17
    assert unpack(data).strings == (b"",)


def test_every_bit_and_every_length_is_noticed():
    data = pack(PLAIN)
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedFileError):
            unpack(bytes(changed))
    for length in range(len(data)):
        with pytest.raises(DamagedFileError):
            unpack(data[:length])


def test_hostile_numbers_cost_nothing():
    """Memory follows the bytes there are, not the numbers in them."""
    head = b"\xc3JX\x01" + HEAD[4:] + b"\x80\x80\x80\x08\x80\x80\x80\x08"
    hostile = [
        with_checksum(head + b"\x80\x80\x40" + b"\xff" * 1000),
        with_checksum(head + b"\xe8\x07" + b"\x80\x80\x40" * 400),
        with_checksum(b"\xc3JX\x2e" + head[4:] + b"\x0e" + b"\xff\xff\xff\x7f" * 9),
    ]
    tracemalloc.start()
    start = time.perf_counter()
    for data in hostile:
        with pytest.raises(DamagedFileError):
            unpack(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert time.perf_counter() - start < 1


def test_mutated_files():
    """20,000 of them: refused, or taken for what they are byte for byte."""
    rng = np.random.default_rng(0)
    report = fuzz.run(fuzz.unpack_exactly, fuzz.SAMPLES, 20_000, rng)
    assert sum(report.refused.values()) + report.returned == 20_000
    # They get past the checksum, and into every part of the header.
    assert report.returned > 500
    reached = " ".join(report.refused)
    for part in ("height", "width", "model", "extras", "icc", "number of strings"):
        assert part in reached


def test_the_fuzzer_finds_other_errors():
    def decode(data):
        return unpack(data).strings[3]

    with pytest.raises(AssertionError, match="IndexError"):
        fuzz.run(decode, fuzz.SAMPLES, 1000, np.random.default_rng(0))


def test_the_fuzzer_as_a_command(capsys):
    assert fuzz.main(["--count=500", "--seed=1"]) == 0
    assert "returned" in capsys.readouterr().out


@pytest.mark.parametrize(
    "form", [bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)]
)
def test_whatever_has_bytes(form):
    assert unpack(form(pack(PLAIN))) == unpack(pack(PLAIN))
