"""Colour spaces of colorimetry, in double precision.

Differences that an observer just sees are a thousandth of a coordinate and less, where
float32 would leave three digits. So these are NumPy functions, of arrays whose last axis
holds the coordinates. XYZ is relative: Y is 1 for the white of sRGB.
"""

from collections.abc import Callable

import numpy as np

# CIE 1931 xy of white: D65 as in IEC 61966-2-1 (sRGB), and illuminant C.
D65 = (0.3127, 0.3290)
ILLUMINANT_C = (0.31006, 0.31616)
# Of the primaries of sRGB (Rec. ITU-R BT.709).
PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))

# B. Ottosson, "A perceptual color space for image processing", 2020,
# https://bottosson.github.io/posts/oklab/: XYZ (D65) to cones, their cube roots to Lab.
_OKLAB_CONES = np.array(
    [
        [0.8189330101, 0.3618667424, -0.1288597137],
        [0.0329845436, 0.9293118715, 0.0361456387],
        [0.0482003018, 0.2643662691, 0.6338517070],
    ]
)
_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def xyz(xy: np.ndarray, luminance: float | np.ndarray) -> np.ndarray:
    """XYZ (..., 3) of chromaticities xy (..., 2) at luminance Y."""
    x, y = np.moveaxis(np.asarray(xy, np.float64), -1, 0)
    scale = luminance / y
    return np.stack([x * scale, y * scale, (1 - x - y) * scale], axis=-1)


def rgb_to_xyz() -> np.ndarray:
    """Matrix (3, 3) from linear sRGB to XYZ, from primaries and white."""
    primaries = xyz(np.array(PRIMARIES), 1.0).T
    white = xyz(np.array(D65), 1.0)
    return primaries * np.linalg.solve(primaries, white)


def linear_srgb(of_xyz: np.ndarray) -> np.ndarray:
    """Linear sRGB; outside [0, 1] for colours beyond its gamut."""
    return of_xyz @ np.linalg.inv(rgb_to_xyz()).T


def srgb(of_xyz: np.ndarray) -> np.ndarray:
    """Stored sRGB values, IEC 61966-2-1; in [0, 1] for colours of its gamut.

    Linear parts below 0 go on along the straight piece of the curve.
    """
    linear = linear_srgb(of_xyz)
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)


def uv(of_xyz: np.ndarray) -> np.ndarray:
    """CIE 1976 u'v', (..., 2)."""
    x, y, z = np.moveaxis(of_xyz, -1, 0)
    total = x + 15 * y + 3 * z
    return np.stack([4 * x / total, 9 * y / total], axis=-1)


def lab(of_xyz: np.ndarray, white: tuple[float, float] = ILLUMINANT_C) -> np.ndarray:
    """CIE 1976 L*a*b*, (..., 3), relative to a white of luminance 1."""
    ratio = of_xyz / xyz(np.array(white), 1.0)
    root = np.where(
        ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29
    )
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def oklab(of_xyz: np.ndarray) -> np.ndarray:
    """Oklab, (..., 3), without adaptation to another white than its own D65."""
    return np.cbrt(of_xyz @ _OKLAB_CONES.T) @ _OKLAB.T


def _xy(of_xyz: np.ndarray) -> np.ndarray:
    return of_xyz[..., :2] / of_xyz.sum(axis=-1, keepdims=True)


# Name -> (xyz (..., 3)) -> coordinates whose Euclidean distance counts.
SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "xy": _xy,
    "u'v'": uv,
    "Lab": lab,
    "Oklab": oklab,
}
