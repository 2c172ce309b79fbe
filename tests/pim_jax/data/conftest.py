"""Small synthetic videos, written by the encoders that come with PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image


def _texture(seed: int, shift: int, size: tuple[int, int]) -> np.ndarray:
    """A smooth random picture (h, w, 3) uint8 that moved `shift` pixels to the left."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    height, width = size
    picture = np.asarray(Image.fromarray(small).resize((2 * width, height)))
    return np.roll(picture, -shift, axis=1)[:, :width]


@pytest.fixture(scope="session")
def texture() -> Callable[..., np.ndarray]:
    return _texture


@pytest.fixture(scope="session")
def moving() -> Callable[..., list[np.ndarray]]:
    """moving(seed, n, size=(48, 64), speed=2): n frames of a moving texture."""

    def make(
        seed: int, n: int, size: tuple[int, int] = (48, 64), speed: int = 2
    ) -> list[np.ndarray]:
        return [_texture(seed, speed * frame, size) for frame in range(n)]

    return make


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """Writes frames as a video; lossless (FFV1 in Matroska) unless told otherwise."""

    def write(
        path: Path,
        frames: Sequence[np.ndarray],
        *,
        fps: int = 10,
        times_ms: Sequence[int] | None = None,
        codec: str = "ffv1",
        pix_fmt: str = "bgr0",
        pixel_aspect: Fraction | None = None,
        rotation: int = 0,
        options: dict[str, str] | None = None,
    ) -> Path:
        height, width = frames[0].shape[:2]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            if pixel_aspect is not None:
                stream.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation:
                stream.set_display_rotation(rotation)
            if times_ms is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for index, image in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                if times_ms is not None:
                    frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def write_damaged_clip(write_clip, moving) -> Callable[..., Path]:
    """Writes 30 frames as JPEGs in AVI, of which the 15th does not decode."""

    def write(path: Path, seed: int) -> Path:
        write_clip(path, moving(seed, 30), codec="mjpeg", pix_fmt="yuvj420p")
        pictures = path.read_bytes().split(b"\xff\xd8\xff")
        pictures[15] = bytes(len(pictures[15]))
        path.write_bytes(b"\xff\xd8\xff".join(pictures))
        return path

    return write
