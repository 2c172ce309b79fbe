"""The coder once more: slow, in exact integers of any length, without carries.

A stream is one number. The encoder keeps the lower end of its interval as that number, in
units of 2^(-32 - 16 * shifts), and picks the number to write at the end.
"""

import numpy as np

from codec_jax.coding.tables import Tables


class Interval:
    """[low, low + size) in units of 2^(-32 - 16 * shifts)."""

    def __init__(self):
        self.low, self.size, self.shifts = 0, 2**32, 0

    def ends(self, lower, upper, precision):
        return (
            self.low + (self.size * lower >> precision),
            self.low + (self.size * upper >> precision),
        )

    def narrow(self, lower, upper, precision):
        self.low, high = self.ends(lower, upper, precision)
        self.size = high - self.low
        if self.size <= 2**16:
            self.low, self.size = self.low << 16, self.size << 16
            self.shifts += 1

    def number(self):
        """The whole number that is written, and whether its zeros at the end are."""
        base = self.low % 2**32
        if base == 0:
            return self.low, True
        if base + self.size > 2**32:
            return self.low - base + 2**32, False
        for unit in (2**24, 2**16):
            rounded = -(-self.low // unit) * unit
            if rounded < self.low + self.size:
                return rounded, False
        raise AssertionError

    def to_bytes(self):
        number, keeps_zeros = self.number()
        data = number.to_bytes(4 + 2 * self.shifts, "big")
        return data[: 2 * self.shifts] if keeps_zeros else data.rstrip(b"\0")


def row_of(tables: Tables, row: int) -> list[int]:
    return tables.cdf[row, : tables.size[row] + 1].tolist()


def bits_of_outlier(value: int, escape: int) -> list[int]:
    g = -value if value < 0 else value - escape + 1
    binary = [int(bit) for bit in f"{g:b}"]
    return [0] * (len(binary) - 1) + binary + [int(value < 0)]


def encode(symbols, rows, tables: Tables) -> bytes:
    interval = Interval()
    for symbol, row in zip(np.ravel(symbols), np.ravel(rows), strict=True):
        value = int(symbol) - int(tables.offset[row])
        cdf, precision = row_of(tables, row), int(tables.precision[row])
        last = len(cdf) - 2
        outlier = bool(tables.escape[row]) and not 0 <= value < last
        k = last if outlier else value
        interval.narrow(cdf[k], cdf[k + 1], precision)
        for bit in bits_of_outlier(value, last) if outlier else ():
            interval.narrow(bit, bit + 1, 1)
    return interval.to_bytes()


class Damaged(Exception):
    pass


def decode(data: bytes, rows, tables: Tables) -> np.ndarray:
    """Raises Damaged for bytes that `encode` does not write."""
    interval = Interval()
    number = int.from_bytes(data, "big")

    def symbol(cdf, precision):
        # The number in the units of the interval.
        units = 8 * (4 + 2 * interval.shifts - len(data))
        value = number << units if units >= 0 else number >> -units
        for k in range(len(cdf) - 1):
            low, high = interval.ends(cdf[k], cdf[k + 1], precision)
            if low <= value < high:
                interval.narrow(cdf[k], cdf[k + 1], precision)
                return k
        raise AssertionError

    symbols = []
    for row in np.ravel(rows):
        cdf = row_of(tables, row)
        value = symbol(cdf, int(tables.precision[row]))
        if tables.escape[row] and value == len(cdf) - 2:
            zeros = 0
            while not symbol([0, 1, 2], 1):
                zeros += 1
                if zeros == 30:
                    raise Damaged
            g = 1
            for _ in range(zeros):
                g = 2 * g + symbol([0, 1, 2], 1)
            value = -g if symbol([0, 1, 2], 1) else value + g - 1
        symbols.append(value + int(tables.offset[row]))
    found = np.array(symbols, np.int32).reshape(np.shape(rows))
    if encode(found, rows, tables) != data:
        raise Damaged
    return found
