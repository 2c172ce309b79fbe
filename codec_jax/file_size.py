"""Whether a file was worth it: remarks on those that are larger than others would be.

A codec trained on photographs takes more for text and screenshots than a file without
loss, or than JPEG with the same error.
"""

import numpy as np
from jaxtyping import UInt8

from codec_jax.classical import CLASSICAL

# Larger pictures are not written as JPEG to compare: that would take seconds.
_MOST_PIXELS = 2**23
_BEST_QUALITY = 95

Pixels = UInt8[np.ndarray, "h w 3"]


def remark(size: int, source: int | None, image: Pixels, decoded: Pixels) -> str | None:
    """One line if a file is larger than its source, or than JPEG at the same quality.

    Args:
      size: bytes of the file.
      source: bytes of the file that the image came from; None: there is none.
      image: as it was compressed.
      decoded: what the file gives back.

    Returns: None for a file that is smaller than both.
    """
    if source is not None and size >= source:
        return (
            f"the file has {size} bytes, and the one it was made from {source}: pictures "
            "like this one are better kept as they are"
        )
    jpeg = jpeg_size(image, decoded) if image.size // 3 <= _MOST_PIXELS else None
    if jpeg is not None and size > jpeg:
        return (
            f"the file has {size} bytes, and JPEG with the same error {jpeg}: pictures "
            "like this one, such as text and screenshots, are not what the codec is for"
        )
    return None


def jpeg_size(image: Pixels, decoded: Pixels) -> int | None:
    """Bytes of the smallest JPEG whose squared error is not above that of `decoded`.

    None if there is none up to a quality of 95.
    """
    allowed = _squared_error(image, decoded)

    def written(quality: int) -> tuple[bool, int]:
        codec = CLASSICAL["jpeg444"]
        data = codec.compress(image, quality)
        return _squared_error(image, codec.decompress(data)) <= allowed, len(data)

    low, high = 1, _BEST_QUALITY
    good, size = written(high)
    if not good:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        good, found = written(middle)
        low, high, size = (low, middle, found) if good else (middle, high, size)
    return size


def _squared_error(image: Pixels, other: Pixels) -> int:
    """The sum over all samples, row by row to hold no copy of a large image."""
    rows = zip(image, other, strict=True)
    return int(sum(np.square(a.astype(np.int64) - b).sum() for a, b in rows))
