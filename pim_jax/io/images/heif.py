"""HEIC files, by libheif."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pim_jax.io import exif as exif_data
from pim_jax.io.damage import decoding
from pim_jax.io.files import Stream
from pim_jax.io.images.stored import (
    DAMAGE,
    RefusedError,
    StoredImage,
    check_size,
    choose,
    scaled,
    split,
    unassociated,
    upright,
)


def read(stream: Stream, frame: int | None) -> StoredImage:
    """The content of a HEIC file."""
    try:
        import pillow_heif  # Only here: it comes with an extra.
    except ImportError as error:
        raise RefusedError(
            "HEIC needs the package pillow-heif (pip install 'pim-jax[codecs]')"
        ) from error
    stream.seek(0)
    with decoding(*DAMAGE):
        file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False)
    choose(frame, len(file))
    with decoding(*DAMAGE):
        image = file[frame or 0]
    check_size(*image.size)
    info: Mapping[str, Any] = image.info
    with decoding(*DAMAGE):
        values, bits = np.asarray(image), info["bit_depth"]
    if values.dtype == np.uint16 and bits < 16:
        # It keeps the bits of the file at the top.
        values = scaled(values >> (16 - bits), bits)
    samples, alpha = split(values)
    if image.premultiplied_alpha and alpha is not None:
        samples = unassociated(samples, alpha)
    # Decoding has turned it, whatever its EXIF says.
    exif, notes = exif_data.upright(info.get("exif"))
    return upright(samples, alpha, 1, info.get("icc_profile") or None, exif, notes)
