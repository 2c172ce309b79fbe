"""The range coder compiled by Numba: writes and reads tensorflow-compression's bytes.

The format is Martin's integer range coder (Video & Data Recording Conference, 1979) as in
tensorflow-compression (`cc/lib/range_coder.h`, `cc/kernels/range_coder_kernels.cc`). A
stream is a number in [0, 1) in big-endian 16-bit words. The coder narrows an interval
[base, base + size), base < 2^32, 2^16 <= size <= 2^32, in units of the second word after
those already shifted out:

    base += floor(size * lower / 2^P);  size = difference of the floors of both ends,

and shifts a word out when size <= 2^16. An addition that leaves 32 bits is a carry into
the words before. (tensorflow-compression holds words back until no carry can come. The
bytes are the same.) At the end a short number inside the interval is written, and bytes
past the end read as zeros.

An outlier is the escape, the last symbol of its row, then g >= 1 in Elias' gamma code (k
zeros and the k + 1 bits of g, highest first), then the sign, each bit with P = 1:
1 stands for the value -g, 0 for the value escape + g - 1.

Compilation takes about three seconds, at the first call; Numba keeps the result on disk.
Arguments are not checked here: `range_coder` does that.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from jaxtyping import Int32, UInt16

from codec_jax.coding.tables import LARGEST_OUTLIER, Tables

_WORD = 1 << 16
_FULL = 1 << 32
_GAMMA_BITS = LARGEST_OUTLIER.bit_length()
# One word at most is shifted out for the interval of a symbol, and one in at least fifteen
# of the 60 bits of an outlier: after a bit has shifted one out, size >= 2^31.
_WORDS_PER_SYMBOL = 6
_CAUSES = (
    "they are damaged or truncated, or were written with other tables, rows or symbols"
)


def encode(
    values: Int32[np.ndarray, " n"], rows: Int32[np.ndarray, " n"], tables: Tables
) -> bytes:
    """Codes each value, counted from the first symbol of its row.

    Args:
      values: within what the rows can code.
      rows: row of `tables` for each value.
      tables: probabilities; the offsets are left to the caller.
    """
    words = np.empty(_WORDS_PER_SYMBOL * len(values), np.uint16)
    count, base, size = _encode(values, rows, *_arrays(tables), words)
    last = _last(base, size)
    if last == _FULL:
        _carry(words, count)
    data = words[:count].astype(">u2").tobytes()
    # With base 0 the zeros that follow are the number; those written before stay.
    return (data + (last % _FULL).to_bytes(4, "big")).rstrip(b"\0") if base else data


def decode(
    data: bytes, rows: Int32[np.ndarray, " n"], tables: Tables
) -> Int32[np.ndarray, " n"]:
    """The values for which `encode` gives exactly these bytes.

    Raises:
      ValueError: there are none.
    """
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2").astype(np.uint16)
    values = np.empty(len(rows), np.int32)
    decoded, state = _decode(words, rows, *_arrays(tables), values)
    base, size, above, count = state
    if decoded < len(rows):
        raise ValueError(
            f"symbol {decoded} of {len(rows)} is an outlier of more than {_GAMMA_BITS} "
            f"bits: {_CAUSES}"
        )
    # The number is the one that the encoder picks from the interval, and as long. As it
    # has been decoded, it differs at most in the four bytes after the words.
    same = (base + above) % _FULL == _last(base, size) % _FULL
    if base:
        as_long = data[-1:] > b"\0" and len(data) <= 2 * count + 4
    else:
        as_long = len(data) == 2 * count
    if not (same and as_long):
        raise ValueError(f"{len(data)} bytes do not end as they should: {_CAUSES}")
    return values


def _arrays(tables: Tables) -> tuple[np.ndarray, ...]:
    return tables.cdf, tables.precision, tables.escape, tables.size


def _last(base: int, size: int) -> int:
    """The number, up to 2^32, that an encoder picks from the interval to end with."""
    if base == 0:
        return 0
    if base + size > _FULL:
        return _FULL
    rounded = -(-base >> 24) << 24
    return rounded if rounded < base + size else -(-base >> 16) << 16


def _compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled at its first call, once for all processes where possible."""
    # Numba reads the source: not that of what the tests wrap functions in.
    function = inspect.unwrap(function)
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:
        # Neither the folder of this file nor the user's cache can be written.
        return numba.njit(function)


# All arithmetic is in int64, the largest number is 2^48: Numba makes floats of a sum of
# signed and unsigned 64-bit integers.


@_compiled
def _carry(words: UInt16[np.ndarray, " w"], count: int) -> None:
    """Adds one to the number made of the first `count` words."""
    count -= 1
    while words[count] == 0xFFFF:
        words[count] = 0
        count -= 1
    words[count] += 1


@_compiled
def _narrow(
    base: int,
    size: int,
    count: int,
    words: UInt16[np.ndarray, " w"],
    lower: int,
    upper: int,
    precision: int,
) -> tuple[int, int, int]:
    """Codes the interval [lower, upper) / 2^precision: new base, size and count."""
    start = size * lower >> precision
    size = (size * upper >> precision) - start
    base += start
    if base >= _FULL:
        base -= _FULL
        _carry(words, count)
    if size <= _WORD:
        words[count] = base >> 16
        count += 1
        base = (base & 0xFFFF) << 16
        size <<= 16
    return base, size, count


@_compiled
def _encode(
    values: np.ndarray,
    rows: np.ndarray,
    cdf: np.ndarray,
    precision: np.ndarray,
    escape: np.ndarray,
    sizes: np.ndarray,
    words: np.ndarray,
) -> tuple[int, int, int]:
    """Fills `words`; how many, and the interval that remains."""
    base, size, count = 0, _FULL, 0
    for i in range(len(values)):
        row, value, top = rows[i], int(values[i]), sizes[rows[i]] - 1
        outlier = escape[row] and (value < 0 or value >= top)
        k = top if outlier else value
        base, size, count = _narrow(
            base, size, count, words, cdf[row, k], cdf[row, k + 1], precision[row]
        )
        if outlier:
            g = -value if value < 0 else value - top + 1
            bits = 1
            while g >> bits:
                bits += 1
            # The zeros before the bits of g are those of a number almost twice as long.
            # Then the sign.
            code = g << 1 | int(value < 0)
            for shift in range(2 * bits - 1, -1, -1):
                bit = code >> shift & 1
                base, size, count = _narrow(base, size, count, words, bit, bit + 1, 1)
    return count, base, size


@_compiled
def _word(words: UInt16[np.ndarray, " w"], index: int) -> int:
    return int(words[index]) if index < len(words) else 0


@_compiled
def _widen(
    base: int, size: int, above: int, count: int, words: UInt16[np.ndarray, " w"]
) -> tuple[int, int, int, int]:
    """Shifts a word out and the next in, if the interval has become small."""
    base &= _FULL - 1
    if size <= _WORD:
        base = (base & 0xFFFF) << 16
        size <<= 16
        above = above << 16 | _word(words, count + 2)
        count += 1
    return base, size, above, count


@_compiled
def _bit(
    state: tuple[int, int, int, int], words: UInt16[np.ndarray, " w"]
) -> tuple[int, tuple[int, int, int, int]]:
    """Decodes a symbol of two that are equally probable."""
    base, size, above, count = state
    half = size >> 1
    if above < half:
        return 0, _widen(base, half, above, count, words)
    return 1, _widen(base + half, size - half, above - half, count, words)


@_compiled
def _decode(
    words: np.ndarray,
    rows: np.ndarray,
    cdf: np.ndarray,
    precision: np.ndarray,
    escape: np.ndarray,
    sizes: np.ndarray,
    values: np.ndarray,
) -> tuple[int, tuple[int, int, int, int]]:
    """Fills `values`; how many, and base, size, the number above base, words shifted."""
    state = 0, _FULL, _word(words, 0) << 16 | _word(words, 1), 0
    for i in range(len(rows)):
        base, size, above, count = state
        row = rows[i]
        # The largest k with floor(size * cdf[k] / 2^P) <= above.
        beyond = (above + 1) << precision[row]
        k, left = 0, int(sizes[row])
        while left > 1:
            half = left >> 1
            # Without a branch: which way it goes is what the processor cannot guess.
            k = k + half if size * cdf[row, k + half] < beyond else k
            left -= half
        start = size * cdf[row, k] >> precision[row]
        size = (size * cdf[row, k + 1] >> precision[row]) - start
        state = _widen(base + start, size, above - start, count, words)
        if not (escape[row] and k == sizes[row] - 1):
            values[i] = k
            continue
        zeros = 0
        bit, state = _bit(state, words)
        while not bit:
            zeros += 1
            if zeros >= _GAMMA_BITS:
                return i, state
            bit, state = _bit(state, words)
        g = 1
        for _ in range(zeros):
            bit, state = _bit(state, words)
            g = g << 1 | bit
        negative, state = _bit(state, words)
        values[i] = -g if negative else k + g - 1
    return len(rows), state
