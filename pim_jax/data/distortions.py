"""Distortions of photographs, each with a strength.

Each takes a uint8 image (h, w, 3) and a strength and returns such an image; all but the
noise are deterministic. `DISTORTIONS` lists them with increasing strengths that go from
barely visible to obvious.
"""

import io
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
import scipy.ndimage
import skimage.color


class Distortion(NamedTuple):
    """A distortion and the strengths at which it is tried.

    Attributes:
      apply: (pixels, strength, seed) -> pixels.
      strengths: increasing.
      unit: what they mean.
    """

    apply: Callable[[np.ndarray, float, int], np.ndarray]
    strengths: tuple[float, ...]
    unit: str


def _to_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def noise(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Adds white Gaussian noise of this standard deviation on the scale of 0 to 255.

    One seed gives one pattern, scaled by the strength.
    """
    pattern = np.random.default_rng(seed).standard_normal(pixels.shape)
    return _to_pixels(pixels + strength * pattern)


def blur(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Blurs with a Gaussian of this standard deviation in pixels, mirrored borders."""
    del seed
    return _to_pixels(
        scipy.ndimage.gaussian_filter(
            pixels.astype(np.float64), (strength, strength, 0), mode="mirror"
        )
    )


def _coded(pixels: np.ndarray, kind: str, **options: object) -> np.ndarray:
    """The image after encoding and decoding with Pillow."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, kind, **options)  # type: ignore[arg-type]
    with PIL.Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def jpeg(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """JPEG at quality 100 - strength (libjpeg's scale, 4:2:0 chroma)."""
    del seed
    return _coded(pixels, "jpeg", quality=round(100 - strength), subsampling="4:2:0")


def jpeg2000(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """JPEG 2000 (OpenJPEG, 9/7 wavelet) at this compression ratio of the raw bytes."""
    del seed
    return _coded(
        pixels,
        "jpeg2000",
        no_jp2=True,  # the bare codestream: the container's header would count
        irreversible=True,
        quality_mode="rates",
        quality_layers=[strength],
    )


def colour_shift(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Moves all colours this far in CIELAB's a*b* plane, in a direction set by the seed.

    Lightness stays; colours that leave sRGB are clipped.
    """
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    lab = skimage.color.rgb2lab(pixels)
    lab[:, :, 1] += strength * np.cos(angle)
    lab[:, :, 2] += strength * np.sin(angle)
    with warnings.catch_warnings():
        # It warns of colours outside of the gamut, which are expected here.
        warnings.simplefilter("ignore", UserWarning)
        return _to_pixels(255 * skimage.color.lab2rgb(lab))


def contrast(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Takes away this share, in [0, 1], of the difference from each channel's mean."""
    del seed
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _to_pixels(mean + (1 - strength) * (pixels - mean))


def brightness(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Adds this to all values on the scale of 0 to 255."""
    del seed
    return _to_pixels(pixels.astype(np.float64) + strength)


def shift(pixels: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Moves the image this many pixels to the right, by cubic splines, mirrored borders."""
    del seed
    moved = scipy.ndimage.shift(
        pixels.astype(np.float64), (0, strength, 0), order=3, mode="mirror"
    )
    return _to_pixels(moved)


DISTORTIONS: dict[str, Distortion] = {
    "noise": Distortion(noise, (2, 5, 10, 20, 40), "standard deviation of 255"),
    "blur": Distortion(blur, (0.4, 0.6, 1.0, 1.6, 2.5), "standard deviation, pixels"),
    "jpeg": Distortion(jpeg, (10, 30, 60, 80, 92), "100 - quality"),
    "jpeg2000": Distortion(jpeg2000, (4, 8, 14, 24, 40), "compression ratio"),
    "colour": Distortion(colour_shift, (2, 5, 10, 20, 40), "distance in a*b*"),
    "contrast": Distortion(contrast, (0.05, 0.1, 0.2, 0.4, 0.8), "share taken away"),
}
