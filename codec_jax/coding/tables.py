"""Integer probability tables: what a sender and a receiver have to share.

A table is made once, after training, from the probabilities of a model (`from_pmfs`); from
then on its integers are stored with the weights. It is never made again by a receiver:
another device, library or compiler gives other last bits, another count in one interval,
and everything after that is decoded wrongly (Ballé, Johnston & Minnen, ICLR 2019).
"""

import dataclasses
import functools
import heapq
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int32, Int64
from numpy.typing import ArrayLike

LARGEST_PRECISION = 16
# An outlier is coded by an integer in [1, 2^30): tensorflow-compression's encoder does not
# return from larger ones, since it compares them with `1 << 31` in 32 bits.
LARGEST_OUTLIER = 2**30 - 1
# Keeps every symbol, outliers included, in 32 bits.
_LARGEST_OFFSET = 2**29


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """Cumulative counts of r tables, one in each row. Immutable and checked when made.

    Symbol s of row i, `offset[i] <= s < offset[i] + size[i]`, has the probability
    `(cdf[i, k + 1] - cdf[i, k]) / 2**precision[i]` with k = s - offset[i]. Where
    `escape[i]`, the last of them stands for all other integers instead, up to 2^30 away.

    These four arrays are all there is to store: `Tables(**arrays)` makes them again. They
    are taken as integers of any width, and kept as int32 (`escape` as bool).

    Attributes:
      precision: 1 to 16, shape (r,): the counts of a row sum to 2^precision.
      escape: whether the last symbol of a row is the escape, shape (r,).
      offset: the smallest symbol of a row, shape (r,); -2^29 to 2^29.
      cdf: shape (r, w), w >= 2: from 0 strictly increasing to 2^precision, and that to
        the end of the row.

    Raises:
      ValueError: for anything else, with the row that is wrong. Arrays are not converted
        from floats.
    """

    precision: np.ndarray
    escape: np.ndarray
    offset: np.ndarray
    cdf: np.ndarray

    def __post_init__(self) -> None:
        cdf = _integers("cdf", self.cdf, 2, 0, 2**LARGEST_PRECISION)
        precision = _integers("precision", self.precision, 1, 1, LARGEST_PRECISION)
        offset = _integers("offset", self.offset, 1, -_LARGEST_OFFSET, _LARGEST_OFFSET)
        escape = np.array(self.escape)
        if escape.dtype != bool or escape.ndim != 1:
            raise ValueError(
                f"escape: expected a vector of bool, found {escape.dtype} of shape "
                f"{escape.shape}"
            )
        rows, width = cdf.shape
        if not rows or width < 2:
            raise ValueError(f"cdf: expected shape (>= 1, >= 2), found {cdf.shape}")
        lengths = [len(precision), len(escape), len(offset)]
        if lengths != [rows] * 3:
            raise ValueError(
                f"cdf has {rows} rows, but precision, escape, offset have {lengths}"
            )
        _check_cdf(cdf, 1 << precision)
        fields = {
            "precision": precision,
            "escape": escape,
            "offset": offset,
            "cdf": cdf,
        }
        for name, array in fields.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @functools.cached_property
    def size(self) -> Int32[np.ndarray, " r"]:
        """How many symbols a row has, the escape included."""
        top = (1 << self.precision)[:, None]
        return np.argmax(self.cdf == top, axis=1).astype(np.int32)

    @functools.cached_property
    def least_bits(self) -> Float[np.ndarray, " r"]:
        """Bits that a symbol of a row takes at least, whichever it is.

        The coder's interval of more than 2^16 is divided in whole numbers: of the most
        probable symbol, p, it may keep 2^-16 more than p, and loses half of 1 - p.
        """
        p = np.diff(self.cdf).max(axis=1) / 2.0**self.precision
        return -np.log2(np.minimum((1 + p) / 2, p + 2.0**-LARGEST_PRECISION))

    @functools.cached_property
    def lowest(self) -> Int32[np.ndarray, " r"]:
        """The smallest symbol that a row can code, outliers included."""
        return self.offset - np.where(self.escape, LARGEST_OUTLIER, 0).astype(np.int32)

    @functools.cached_property
    def highest(self) -> Int32[np.ndarray, " r"]:
        """The largest symbol that a row can code, outliers included."""
        # The first outlier above is the escape's own place, and is coded by 1.
        more = np.where(self.escape, LARGEST_OUTLIER - 1, 0).astype(np.int32)
        return self.offset + self.size - 1 + more


def from_pmfs(
    pmfs: Sequence[ArrayLike],
    offsets: Sequence[int],
    precision: int,
    escape: bool = True,
) -> Tables:
    """Makes a table of every list of probabilities: once, after training.

    Args:
      pmfs: for each row the probabilities of consecutive integers, n >= 1 of them; zeros
        are allowed and get one count.
      offsets: for each row the first of these integers.
      precision: of all rows, 1 to 16.
      escape: append a symbol for all other integers, with the probability that the sum
        of the row leaves. Otherwise the row is scaled to sum to one.

    Raises:
      ValueError: a row is no list of probabilities, or has more than 2^precision symbols.
    """
    if len(pmfs) != len(offsets) or not len(pmfs):
        raise ValueError(f"{len(pmfs)} rows of probabilities, {len(offsets)} offsets")
    rows = []
    for i, values in enumerate(pmfs):
        pmf = np.asarray(values, np.float64)
        if escape:
            pmf = np.append(pmf, max(0.0, 1.0 - pmf.sum()))
        try:
            rows.append(np.append(0, np.cumsum(quantized_pmf(pmf, precision))))
        except ValueError as error:
            raise ValueError(f"row {i}: {error}") from error
    cdf = np.full((len(rows), max(map(len, rows))), 1 << precision, np.int32)
    for i, row in enumerate(rows):
        cdf[i, : len(row)] = row
    return Tables(
        precision=np.full(len(rows), precision),
        escape=np.full(len(rows), escape),
        offset=np.asarray(offsets),
        cdf=cdf,
    )


def quantized_pmf(
    pmf: Float[np.ndarray, " n"], precision: int
) -> Int64[np.ndarray, " n"]:
    """Counts >= 1 with the sum 2^precision that code symbols of this pmf almost best.

    The probabilities are scaled to sum to one, then rounded; then single counts are taken
    where they cost least, or given where they gain most, in expected bits. This is the
    rule of tensorflow-compression's `pmf_to_quantized_cdf`, in double precision.

    Raises:
      ValueError: not a vector of finite, non-negative numbers with a positive sum, more
        symbols than counts, or a precision that is not in 1..16.
    """
    if not 1 <= precision <= LARGEST_PRECISION:
        raise ValueError(
            f"precision: expected 1 to {LARGEST_PRECISION}, found {precision}"
        )
    pmf = np.asarray(pmf, np.float64)
    if pmf.ndim != 1 or not np.all(np.isfinite(pmf)) or np.any(pmf < 0):
        raise ValueError("expected a vector of finite, non-negative probabilities")
    total = 1 << precision
    if not 1 <= len(pmf) <= total:
        raise ValueError(f"expected 1 to {total} symbols, found {len(pmf)}")
    if not 0 < pmf.sum() < np.inf:
        raise ValueError(f"expected a positive, finite sum, found {pmf.sum()}")
    pmf = pmf / pmf.sum()
    counts = np.maximum(np.rint(pmf * total), 1).astype(np.int64)
    excess = int(counts.sum()) - total
    if excess > 0:
        _adjust(counts, -1, excess, lambda p, v: p * np.log2(v / (v - 1)), pmf)
    else:
        _adjust(counts, 1, -excess, lambda p, v: -p * np.log2((v + 1) / v), pmf)
    return counts


def _adjust(
    counts: Int64[np.ndarray, " n"],
    step: int,
    steps: int,
    cost: Callable[[float, int], float],
    pmf: Float[np.ndarray, " n"],
) -> None:
    """Adds `step` to a count >= 1, `steps` times, each time where it costs least."""

    def possible(i: int) -> bool:
        return bool(counts[i] + step >= 1)

    queue = [(cost(pmf[i], counts[i]), i) for i in range(len(counts)) if possible(i)]
    heapq.heapify(queue)
    for _ in range(steps):
        i = heapq.heappop(queue)[1]
        counts[i] += step
        if possible(i):
            heapq.heappush(queue, (cost(pmf[i], counts[i]), i))


def _integers(
    name: str, values: np.ndarray, ndim: int, least: int, most: int
) -> Int32[np.ndarray, "..."]:
    """A copy as int32."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim != ndim:
        raise ValueError(
            f"{name}: expected integers with {ndim} axes, found {array.dtype} of shape "
            f"{array.shape}"
        )
    wrong = np.argwhere((array < least) | (array > most))
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"{name}, row {row}: expected {least} to {most}, found "
            f"{array[tuple(wrong[0])]}"
        )
    return np.array(array, np.int32, order="C")


def _check_cdf(cdf: Int32[np.ndarray, "r w"], top: Int32[np.ndarray, " r"]) -> None:
    """Every row goes from 0 strictly up to its top, and stays there."""
    step, reached = np.diff(cdf, axis=1), cdf[:, :-1] == top[:, None]
    checks = {
        "starts at 0": cdf[:, 0] == 0,
        "increases strictly to 2^precision and stays there": np.all(
            np.where(reached, step == 0, step > 0), axis=1
        ),
        "ends at 2^precision": cdf[:, -1] == top,
    }
    for rule, holds in checks.items():
        if not np.all(holds):
            row = int(np.argmin(holds))
            raise ValueError(
                f"cdf, row {row} of precision {int(top[row]).bit_length() - 1}: expected "
                f"a row that {rule}, found {cdf[row]}"
            )


def joined(parts: Sequence[Tables]) -> Tables:
    """The rows of several tables, one after the other."""
    width = max(part.cdf.shape[1] for part in parts)
    return Tables(
        precision=np.concatenate([part.precision for part in parts]),
        escape=np.concatenate([part.escape for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        cdf=np.concatenate(
            [
                np.pad(part.cdf, ((0, 0), (0, width - part.cdf.shape[1])), "edge")
                for part in parts
            ]
        ),
    )
