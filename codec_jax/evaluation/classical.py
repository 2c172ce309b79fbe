"""Classical codecs, called as learned ones are: arrays to bytes and back.

What a file holds beside the pixels (headers, containers) counts: the bytes are those of a
file that any viewer opens. Options are the ones that make each codec strongest for its
squared error without becoming slow, 4:2:0 unless the name says otherwise.
"""

import dataclasses
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import PIL.features
import PIL.Image
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "h w 3"]

# What decoders raise on damaged data.
_DAMAGE = (OSError, SyntaxError, ValueError, RuntimeError, EOFError)
_ADVICE = "this codec needs {0}: pip install {0}, or the extra pim-jax[codecs]"


@dataclasses.dataclass(frozen=True)
class ClassicalCodec:
    """A codec with its options.

    Attributes:
      name: the key in CLASSICAL.
      qualities: settings from the smallest file to the largest, about 0.05 to 2 bits per
        pixel of a photograph, as far as the codec reaches; what they mean is the codec's.
      encode: (pixels, quality) -> bytes, unchecked.
      decode: bytes -> pixels, unchecked.
    """

    name: str
    qualities: tuple[float, ...]
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]

    def compress(self, image: Pixels, quality: float) -> bytes:
        """A whole file with this image.

        Args:
          image: (h, w, 3) uint8, sRGB.
          quality: on the scale of `qualities`; others than those are allowed.

        Raises:
          ValueError: another shape or dtype, or what the encoder refuses.
          ModuleNotFoundError: an optional library is missing; the message says which.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"expected an image of shape (h, w, 3) and type uint8, found "
                f"{image.shape} of {image.dtype}"
            )
        if not image.size:
            raise ValueError(f"expected at least one pixel, found shape {image.shape}")
        try:
            return self.encode(image, quality)
        except _DAMAGE as error:
            raise ValueError(
                f"{self.name} cannot write {image.shape} with quality {quality}: {error}"
            ) from error

    def decompress(self, data: bytes) -> Pixels:
        """The image of a file.

        Raises:
          ValueError: damaged, or not a file of this codec.
          ModuleNotFoundError: an optional library is missing; the message says which.
        """
        try:
            return self.decode(data)
        except _DAMAGE as error:
            raise ValueError(f"not a readable {self.name} file: {error}") from error


def _with_pillow(format: str, **options: Any) -> Callable[[Pixels], bytes]:
    """Encoder of one of Pillow's formats, or an error if Pillow was built without it."""

    def encode(image: Pixels) -> bytes:
        _check_pillow(format)
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, format, **options)
        return file.getvalue()

    return encode


def _read_with_pillow(format: str) -> Callable[[bytes], Pixels]:
    def decode(data: bytes) -> Pixels:
        _check_pillow(format)
        with PIL.Image.open(io.BytesIO(data), formats=(format,)) as image:
            return np.asarray(image.convert("RGB"))

    return decode


# Pillow's name of a format -> its name of the library behind it.
_FEATURES = {"JPEG": "jpg", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}


def _check_pillow(format: str) -> None:
    if not PIL.features.check(_FEATURES[format]):
        raise ModuleNotFoundError(
            f"this build of Pillow has no {format}: pip install 'pillow>=11.3'"
        )


def _imagecodecs() -> ModuleType:
    try:
        import imagecodecs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_ADVICE.format("imagecodecs")) from error
    return imagecodecs


def _pillow_heif() -> ModuleType:
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_ADVICE.format("pillow-heif")) from error
    return pillow_heif


def _jpeg(subsampling: str) -> Callable[[Pixels, float], bytes]:
    """Baseline JPEG by libjpeg-turbo, optimised Huffman tables; quality 1 to 95."""
    return lambda image, quality: _with_pillow(
        "JPEG", quality=round(quality), subsampling=subsampling, optimize=True
    )(image)


def _jpeg2000(image: Pixels, quality: float) -> bytes:
    """JPEG 2000 by OpenJPEG: 9/7 wavelet, irreversible colour transform.

    The quality is the rate in bits per pixel that files come close to.
    """
    if quality <= 0:
        raise ValueError("the quality is a rate in bits per pixel, more than 0")
    return _with_pillow(
        "JPEG2000",
        irreversible=True,
        mct=1,  # the colour transform, which Pillow leaves out unless asked
        quality_mode="rates",
        quality_layers=[24 / quality],
    )(image)


def _webp(image: Pixels, quality: float) -> bytes:
    """VP8 by libwebp, slowest method; quality 0 to 100."""
    return _with_pillow("WEBP", quality=round(quality), method=6)(image)


def _avif(image: Pixels, quality: float) -> bytes:
    """AV1 by libavif and libaom, speed 6 of 10; quality 0 to 100."""
    return _with_pillow("AVIF", quality=round(quality), speed=6, subsampling="4:2:0")(
        image
    )


def _jpegxl(image: Pixels, quality: float) -> bytes:
    """JPEG XL by libjxl, effort 7 of 10; quality is Butteraugli's distance, 25 to 0.01."""
    return _imagecodecs().jpegxl_encode(image, distance=quality, effort=7)


def _read_jpegxl(data: bytes) -> Pixels:
    return _imagecodecs().jpegxl_decode(data)


def _heif(image: Pixels, quality: float) -> bytes:
    """HEVC by x265 tuned for PSNR, preset slow; quality 0 to 100."""
    file = io.BytesIO()
    height, width, _ = image.shape
    _pillow_heif().encode(
        "RGB",
        (width, height),
        np.ascontiguousarray(image).tobytes(),
        file,
        quality=round(quality),
        chroma=420,
        enc_params={"preset": "slow", "tune": "psnr"},
    )
    return file.getvalue()


def _read_heif(data: bytes) -> Pixels:
    return np.asarray(_pillow_heif().open_heif(data))


_RATES = (0.05, 0.07, 0.1, 0.17, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
_JPEG_QUALITIES = (5, 8, 12, 20, 30, 40, 50, 65, 75, 85, 92)
_DISTANCES = (25.0, 15.0, 11.0, 8.0, 6.0, 4.5, 3.0, 2.2, 1.5, 1.0, 0.7)

CLASSICAL: dict[str, ClassicalCodec] = {
    "jpeg": ClassicalCodec(
        "jpeg", _JPEG_QUALITIES, _jpeg("4:2:0"), _read_with_pillow("JPEG")
    ),
    "jpeg444": ClassicalCodec(
        "jpeg444", _JPEG_QUALITIES, _jpeg("4:4:4"), _read_with_pillow("JPEG")
    ),
    "jpeg2000": ClassicalCodec(
        "jpeg2000", _RATES, _jpeg2000, _read_with_pillow("JPEG2000")
    ),
    "webp": ClassicalCodec(
        "webp", (1, 5, 15, 30, 50, 70, 80, 90), _webp, _read_with_pillow("WEBP")
    ),
    "jpegxl": ClassicalCodec("jpegxl", _DISTANCES, _jpegxl, _read_jpegxl),
    "avif": ClassicalCodec(
        "avif", (3, 10, 20, 30, 40, 50, 60, 70, 80), _avif, _read_with_pillow("AVIF")
    ),
    "heif": ClassicalCodec("heif", (0, 5, 15, 25, 35, 45, 55), _heif, _read_heif),
}
