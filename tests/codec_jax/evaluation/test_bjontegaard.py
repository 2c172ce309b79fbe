"""Rate-distortion figures: closed forms, properties, and published figures."""

import numpy as np
import pytest

from codec_jax.evaluation import bjontegaard, curves
from codec_jax.evaluation.bjontegaard import Curve

ANCHOR = Curve(
    np.array([0.1, 0.2, 0.45, 0.9, 1.7]), np.array([27.0, 29.5, 32.0, 35.0, 38.5])
)


def scaled(curve, factor, more=0.0):
    return Curve(curve.bpp * factor, curve.quality + more)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25, 3.0])
def test_a_multiple_of_the_rate(factor):
    found = bjontegaard.bd_rate(ANCHOR, scaled(ANCHOR, factor))
    assert found == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_half_the_rate_is_minus_fifty_percent():
    assert bjontegaard.bd_rate(ANCHOR, scaled(ANCHOR, 0.5)) == pytest.approx(-50)


@pytest.mark.parametrize("more", [-1.5, 0.0, 2.0])
def test_more_decibel_at_the_same_rate(more):
    assert bjontegaard.bd_psnr(ANCHOR, scaled(ANCHOR, 1, more)) == pytest.approx(more)


def test_straight_lines_have_a_closed_form():
    """q = a + s log10(r): PCHIP is exact, and the mean lies in the middle of the range."""
    rate_a, rate_b = np.geomspace(0.1, 2, 5), np.geomspace(0.2, 1.5, 6)
    a = Curve(rate_a, 33 + 8 * np.log10(rate_a))
    b = Curve(rate_b, 35 + 9 * np.log10(rate_b))
    low, high = bjontegaard.common_qualities(a, b)
    middle = (low + high) / 2
    log_ratio = (middle - 35) / 9 - (middle - 33) / 8
    assert bjontegaard.bd_rate(a, b) == pytest.approx(100 * (10**log_ratio - 1))
    assert bjontegaard.common_rates(a, b) == pytest.approx((0.2, 1.5))
    log_middle = np.log10(0.2 * 1.5) / 2
    assert bjontegaard.bd_psnr(a, b) == pytest.approx(2 + log_middle)


def test_exchanged_curves_have_inverse_ratios():
    other = Curve(np.array([0.09, 0.3, 0.6, 1.2]), np.array([28.0, 31.0, 34.0, 37.0]))
    there, back = bjontegaard.bd_rate(ANCHOR, other), bjontegaard.bd_rate(other, ANCHOR)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)
    assert bjontegaard.bd_psnr(ANCHOR, other) == pytest.approx(
        -bjontegaard.bd_psnr(other, ANCHOR)
    )


def test_neither_order_nor_useless_points_matter():
    other = scaled(ANCHOR, 0.7)
    # A dearer point of less quality, one of equal quality, a worse one of equal rate.
    bpp = np.append(other.bpp, [2 * other.bpp[1], 1.1 * other.bpp[3], other.bpp[2]])
    quality = np.append(
        other.quality, [other.quality[1] - 1, other.quality[3], other.quality[2] - 2]
    )
    order = np.random.default_rng(0).permutation(len(bpp))
    mixed = Curve(bpp[order], quality[order])
    for kept, expected in zip(bjontegaard.increasing(mixed), other, strict=True):
        np.testing.assert_array_equal(kept, expected)
    assert bjontegaard.bd_rate(ANCHOR, mixed) == pytest.approx(-30)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (
            Curve(ANCHOR.bpp[:3], ANCHOR.quality[:3]),
            "at least 4 points.*found 3 among 3",
        ),
        (Curve(ANCHOR.bpp, ANCHOR.quality[::-1]), "at least 4 points.*found 1 among 5"),
        (Curve(ANCHOR.bpp - 0.1, ANCHOR.quality), "rates above 0"),
        (Curve(ANCHOR.bpp, ANCHOR.quality + np.inf), "finite qualities"),
        (Curve(ANCHOR.bpp, ANCHOR.quality[1:]), "as many rates as qualities"),
    ],
)
def test_wrong_curves_are_refused(curve, message):
    for function in (bjontegaard.bd_rate, bjontegaard.bd_psnr):
        for pair in ((ANCHOR, curve), (curve, ANCHOR)):
            with pytest.raises(ValueError, match=message):
                function(*pair)


def test_curves_with_nothing_in_common_are_refused():
    with pytest.raises(ValueError, match=r"27\.000 to 38\.500 dB, the other from 47"):
        bjontegaard.bd_rate(ANCHOR, scaled(ANCHOR, 1, 20))
    with pytest.raises(ValueError, match=r"0\.100 to 1\.700 bpp, the other from 10"):
        bjontegaard.bd_psnr(ANCHOR, scaled(ANCHOR, 100))


def test_little_in_common_is_no_warning(recwarn):
    bjontegaard.bd_rate(ANCHOR, scaled(ANCHOR, 1, 11))
    assert not recwarn


def test_decibel():
    np.testing.assert_allclose(
        bjontegaard.decibel([0, 0.9, 0.99, 1]), [0, 10, 20, np.inf]
    )
    for wrong in (1.01, np.nan):
        with pytest.raises(ValueError, match="at most 1"):
            bjontegaard.decibel([wrong])


def test_means_over_images_are_of_decibels():
    curve = bjontegaard.rate_points([[0.1, 0.3], [0.4, 0.8]], [[20, 40], [30, 50]])
    np.testing.assert_allclose(curve.bpp, [0.2, 0.6])
    # Of squared errors it would be 22.97 dB.
    np.testing.assert_allclose(curve.quality, [30, 40])
    with pytest.raises(ValueError, match="settings, images"):
        bjontegaard.rate_points([0.1, 0.3], [20, 40])
    with pytest.raises(ValueError, match="settings, images"):
        bjontegaard.rate_points([[0.1, 0.3]], [[20]])


def test_within_keeps_the_ends():
    curve = bjontegaard.within(ANCHOR, 0.2, 0.9)
    np.testing.assert_array_equal(curve.bpp, [0.2, 0.45, 0.9])
    np.testing.assert_array_equal(curve.quality, [29.5, 32, 35])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rate", "decibel"),
    [
        ("Ballé 2018 (ICLR, opt. MSE)", -53.7, 4.21),
        ("Ballé 2017 (ICLR, opt. MSE)", -44.3, 3.12),
        ("Minnen 2020 (ICIP)", -64.4, 5.45),
        ("BPG (4:4:4)", -57.8, 4.56),
        ("WebP", -34.5, 2.34),
    ],
)
def test_published_figures(shared, name, rate, decibel):
    """Differences to tensorflow-compression's JPEG 4:2:0 on Kodak, PSNR over RGB.

    The recipe behind these figures: JPEG from 0.19 to 2.1 bpp, the others from 0.1 to
    2.2, both made strictly increasing; PCHIP, whatever the share in common.
    """
    folder = shared / "data" / "rd-curves" / "kodak" / "PSNR_sRGB_RGB"
    known = {found.name: found.curve for found in curves.read_published(folder)}
    anchor = bjontegaard.within(known["JPEG (4:2:0)"], 0.19, 2.1)
    curve = bjontegaard.within(known[name], 0.1, 2.2)
    assert bjontegaard.bd_rate(anchor, curve) == pytest.approx(rate, abs=0.051)
    assert bjontegaard.bd_psnr(anchor, curve) == pytest.approx(decibel, abs=0.0051)
