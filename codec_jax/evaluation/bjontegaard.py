"""Rate-distortion curves and what lies between two of them: pure functions, in NumPy.

Nothing here knows a codec, an image or a file. Rates are bits per pixel of whole files;
qualities are in dB, larger is better: PSNR, or MS-SSIM by `decibel`. The differences are
Bjøntegaard's (VCEG-M33, 2001), computed by the package `bjontegaard`: each curve is
interpolated by monotone cubics (PCHIP) through its points, quality over the logarithm of
the rate or the reverse, and their distance is averaged over the range that both cover.
"""

from typing import Any, NamedTuple

import bjontegaard
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

# Bjøntegaard's own number of points, and what a cubic needs.
FEWEST_POINTS = 4
INTERPOLATION = "pchip"
_OPTIONS: dict[str, Any] = {
    "method": INTERPOLATION,
    "require_matching_points": False,
    # The package only warns below this share, and three quarters, its default, is more
    # than usual curves have in common. The ranges are reported instead.
    "min_overlap": 0,
}


class Curve(NamedTuple):
    """Points of one codec, in any order.

    Attributes:
      bpp: rates in bits per pixel, > 0, shape (k,).
      quality: in dB, shape (k,).
    """

    bpp: Float[np.ndarray, " k"]
    quality: Float[np.ndarray, " k"]


def decibel(similarity: ArrayLike) -> Float[np.ndarray, "*s"]:
    """-10 log10(1 - s): a similarity with maximum 1, such as MS-SSIM, in dB.

    Raises:
      ValueError: a similarity above 1, or NaN.
    """
    values = np.asarray(similarity, np.float64)
    if not np.all(values <= 1):
        raise ValueError(f"expected similarities of at most 1, found {values.max()}")
    with np.errstate(divide="ignore"):
        return -10 * np.log10(1 - values)


def rate_points(bpp: ArrayLike, quality: ArrayLike) -> Curve:
    """The curve of a set of images: at each setting of the codec, means over the images.

    Both means are plain ones: of bits per pixel, and of the images' qualities in dB, as
    CompressAI and tensorflow-compression average. (The PSNR of the mean squared error,
    which others report, is up to 0.4 dB lower.)

    Args:
      bpp: (settings, images).
      quality: (settings, images): PSNR in dB, or MS-SSIM, which published curves bring
        to dB after averaging.

    Raises:
      ValueError: shapes that differ or have not two axes.
    """
    rates, values = np.asarray(bpp, np.float64), np.asarray(quality, np.float64)
    if rates.shape != values.shape or rates.ndim != 2 or not rates.size:
        raise ValueError(
            "expected rates and qualities of shape (settings, images), found "
            f"{rates.shape} and {values.shape}"
        )
    return Curve(rates.mean(1), values.mean(1))


def within(curve: Curve, lowest_bpp: float, highest_bpp: float) -> Curve:
    """The points with rates in a range, ends included."""
    inside = (curve.bpp >= lowest_bpp) & (curve.bpp <= highest_bpp)
    return Curve(curve.bpp[inside], curve.quality[inside])


def increasing(curve: Curve) -> Curve:
    """The points by ascending rate, without those that no cheaper point leaves useful.

    A point is left out where a cheaper one has at least its quality: what is left
    increases strictly in both, as interpolation in both directions requires.

    Raises:
      ValueError: lengths that differ, a rate that is not positive, or infinite values.
    """
    bpp, quality = (np.asarray(values, np.float64) for values in curve)
    if bpp.shape != quality.shape or bpp.ndim != 1:
        raise ValueError(
            f"expected as many rates as qualities, found shapes {bpp.shape} and "
            f"{quality.shape}"
        )
    if not np.all(np.isfinite(bpp) & np.isfinite(quality) & (bpp > 0)):
        raise ValueError("expected finite qualities at finite rates above 0")
    # Of equal rates the best first.
    order = np.lexsort((-quality, bpp))
    bpp, quality = bpp[order], quality[order]
    best_before = np.maximum.accumulate(np.append(-np.inf, quality[:-1]))
    useful = quality > best_before
    return Curve(bpp[useful], quality[useful])


def bd_rate(anchor: Curve, curve: Curve) -> float:
    """How much more rate a codec needs than the anchor, in percent of the anchor's.

    Averaged, as a logarithm, over the qualities that both curves reach
    (`common_qualities`). -50: half the rate at the same quality.

    Raises:
      ValueError: a curve has less than four useful points (see `increasing`), or no
        quality is reached by both.
    """
    a, b = _comparable(anchor), _comparable(curve)
    _check_overlap("dB", _common(a.quality, b.quality), a.quality, b.quality)
    return float(
        bjontegaard.bd_rate(
            a.bpp,
            a.quality,
            b.bpp,
            b.quality,
            **_OPTIONS,
        )
    )


def bd_psnr(anchor: Curve, curve: Curve) -> float:
    """How much better a codec is than the anchor at the same rate, in dB.

    Averaged over the logarithm of the rates that both curves have (`common_rates`). With
    MS-SSIM in dB as quality it is BD-MS-SSIM.

    Raises:
      ValueError: as `bd_rate`, with rates.
    """
    a, b = _comparable(anchor), _comparable(curve)
    _check_overlap("bpp", _common(a.bpp, b.bpp), a.bpp, b.bpp)
    return float(
        bjontegaard.bd_psnr(
            a.bpp,
            a.quality,
            b.bpp,
            b.quality,
            **_OPTIONS,
        )
    )


def common_qualities(anchor: Curve, curve: Curve) -> tuple[float, float]:
    """The range in dB that `bd_rate` averages over; empty if the first is larger."""
    return _common(increasing(anchor).quality, increasing(curve).quality)


def common_rates(anchor: Curve, curve: Curve) -> tuple[float, float]:
    """The range in bits per pixel of `bd_psnr`; empty if the first is larger."""
    return _common(increasing(anchor).bpp, increasing(curve).bpp)


def _comparable(curve: Curve) -> Curve:
    useful = increasing(curve)
    if len(useful.bpp) < FEWEST_POINTS:
        raise ValueError(
            f"expected at least {FEWEST_POINTS} points that increase in rate and quality, "
            f"found {len(useful.bpp)} among {len(curve.bpp)}"
        )
    return useful


def _common(
    a: Float[np.ndarray, " k"], b: Float[np.ndarray, " l"]
) -> tuple[float, float]:
    return float(max(a[0], b[0])), float(min(a[-1], b[-1]))


def _check_overlap(
    unit: str,
    common: tuple[float, float],
    a: Float[np.ndarray, " k"],
    b: Float[np.ndarray, " l"],
) -> None:
    if common[0] >= common[1]:
        raise ValueError(
            f"the curves have nothing in common: the anchor goes from {a[0]:.3f} to "
            f"{a[-1]:.3f} {unit}, the other from {b[0]:.3f} to {b[-1]:.3f}"
        )
