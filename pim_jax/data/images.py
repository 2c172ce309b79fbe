"""Image files as arrays: sRGB, three channels, upright.

Embedded colour profiles are not applied: like the published metric code, the numbers in
the file are taken to be sRGB.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2")

_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", *_DEEP_MODES)
# What decoders raise on damaged or hostile files.
_DAMAGE = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)


def read_image(path: str | Path) -> np.ndarray:
    """An image file as float32 (h, w, 3) in [0, 1], sRGB.

    The EXIF orientation is applied, grey and palette images become RGB, 16 bits per
    channel keep their precision (PNG and greyscale files).

    Args:
      path: a file in a format that Pillow reads.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: damaged, not an image, partly transparent (over which background a
        viewer would show it is not known here; a fully opaque alpha channel is dropped),
        or in a colour mode other than grey, palette and RGB.
    """
    if _is_deep_colour_png(path):
        return _guarded(path, _read_deep_png)
    pixels = _guarded(path, _read_with_pillow)
    limit = 65535 if pixels.dtype == np.uint16 else 255
    return pixels.astype(np.float32) / limit


def read_pixels(path: str | Path, size: int | None = None) -> np.ndarray:
    """An image file as uint8 (h, w, 3); 16-bit files are rounded.

    Args:
      path: as for `read_image`, with the same errors.
      size: if given, the result is (size, size, 3), resized with Pillow's antialiased
        bilinear filter unless it has that size already.
    """
    pixels = np.round(read_image(path) * 255).astype(np.uint8)
    return pixels if size is None else resize(pixels, size, size)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 image (h, w, 3) at another size, antialiased bilinear (Pillow).

    Pillow's bilinear filter widens with the reduction, which is what torchvision's
    `Resize` does to PIL images, and so what the BAPPS scripts do.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    image = PIL.Image.fromarray(pixels)
    return np.asarray(image.resize((width, height), PIL.Image.Resampling.BILINEAR))


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder (not of its subfolders), sorted by name.

    Raises:
      FileNotFoundError: there is no such folder, or it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no image file ({', '.join(SUFFIXES)}) in {folder}")
    return files


def require(folder: str | Path, names: Iterable[str]) -> None:
    """Raises FileNotFoundError if one of the named files is not in `folder`."""
    wanted = sorted(set(names))
    missing = [name for name in wanted if not (Path(folder) / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} images are not in {folder}, first of all "
            f"{missing[0]}"
        )


def _guarded(path: str | Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """What `read` returns; whatever it raises becomes an error that names the file."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such image file: {path}")
    try:
        return read(path)
    except _DAMAGE as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def _read_with_pillow(path: Path) -> np.ndarray:
    """A file as (h, w, 3) uint8, or uint16 for 16-bit grey."""
    with PIL.Image.open(path) as image:
        if image.mode not in _MODES:
            raise ValueError(
                f"expected a grey, palette or RGB image, found {image.mode}"
            )
        upright = PIL.ImageOps.exif_transpose(image)
        if upright.mode in _DEEP_MODES:
            return _deep_grey(upright)
        if upright.has_transparency_data:
            return _without_alpha(np.asarray(upright.convert("RGBA")), 255)
        return np.asarray(upright.convert("RGB"))


def _deep_grey(image: PIL.Image.Image) -> np.ndarray:
    """A 16-bit grey image repeated to three channels, uint16."""
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(
            f"expected grey values of 16 bits, found {grey.min()} to {grey.max()}"
        )
    return np.repeat(grey.astype(np.uint16)[:, :, None], 3, axis=2)


def _without_alpha(pixels: np.ndarray, opaque: int) -> np.ndarray:
    """The first three of four channels; ValueError unless the fourth is opaque."""
    alpha = pixels[:, :, 3]
    if (alpha < opaque).any():
        raise ValueError(
            f"{np.mean(alpha < opaque):.1%} of its pixels are transparent; composite it "
            "over a background first"
        )
    return pixels[:, :, :3]


def _is_deep_colour_png(path: str | Path) -> bool:
    """Whether a file is a PNG of 16 bits per channel in RGB or RGBA.

    Pillow would silently cut such a file to 8 bits.
    """
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(26)
    # Signature, length, "IHDR", width, height, bit depth, colour type (2 RGB, 6 RGBA).
    return head.startswith(b"\x89PNG\r\n\x1a\n") and head[24:26] in (
        b"\x10\x02",
        b"\x10\x06",
    )


def _read_deep_png(path: Path) -> np.ndarray:
    """A 16-bit RGB or RGBA PNG as float32 (h, w, 3), decoded by FFmpeg."""
    import av  # Only here: training and 8 bits do without.

    with PIL.Image.open(path) as image:
        image.load()  # FFmpeg fills what a truncated file lacks, Pillow refuses it
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    pixels = frame.to_ndarray(format=frame.format.name)
    if pixels.shape[2] == 4:
        pixels = _without_alpha(pixels, 65535)
    return pixels.astype(np.float32) / 65535
