"""From a video file to its frames as a player shows them: right colours, upright.

FFmpeg decodes; what a player does after that is here. Which stream is the film, when
each frame is shown, fields that were interlaced, the colour matrix, and the orientation.
"""

import collections
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.filter
import numpy as np
from PIL import Image

# Side of the grey thumbnails that cuts are found on: camera motion averages out.
_THUMBNAIL = 32
# Pixel aspect ratios outside of this are damaged headers, and are taken for 1.
_PLAUSIBLE_ASPECT = (0.25, 4.0)

# Numbers of ITU-T H.273, as FFmpeg uses them: matrices that swscale can apply.
_BT709, _BT601 = 1, 5
_MATRICES = {_BT709, 4, _BT601, 6, 7, 9}  # also FCC, SMPTE 170M and 240M, BT.2020
# No YUV matrix, that is, nothing is known: RGB, unspecified, reserved.
_UNKNOWN_MATRICES = {0, 2, 3}
_MATRIX_NAMES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE 2085"}
_MATRIX_NAMES |= {12: "derived from primaries", 14: "ICtCp", 15: "IPT-C2"}
# Without a matrix in the file, players take pictures larger than this for BT.709.
_LARGEST_SD = (1280, 576)  # long side (exclusive), short side (inclusive)
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_PRIMARIES = 9

# What is told of a clip that is used although not all of it was as one would wish.
INTERLACED = "interlaced, and were deinterlaced"
WIDE = "in BT.2020's wide colours, which are not converted to sRGB"
HDR = "in high dynamic range ({}), whose brightness is not mapped to sRGB"

Remark = Callable[[str], object]


class UndecodableError(ValueError):
    """The file is no video, or decoding it failed."""


class Orientation(NamedTuple):
    """How a stored picture is turned to be shown: first transposed, then mirrored.

    Attributes:
      transposed: rows become columns.
      mirrored: left and right change places.
      upside_down: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(h, w, c) -> (h, w, c), or (w, h, c) if transposed."""
        if self.transposed:
            image = image.transpose(1, 0, 2)
        if self.mirrored:
            image = image[:, ::-1]
        return image[::-1] if self.upside_down else image


class Decoded(NamedTuple):
    """One decoded frame.

    Attributes:
      time: presentation time in seconds.
      thumbnail: luma, (32, 32) float32 in 0..255, as stored.
      frame: the frame as stored, an `av.VideoFrame` whose colour matrix is known.
      aspect: width of a stored pixel over its height.
      orientation: how it is shown.
    """

    time: float
    thumbnail: np.ndarray
    frame: Any
    aspect: float
    orientation: Orientation


class _Stored(NamedTuple):
    time: float
    frame: Any
    orientation: Orientation


def decode(path: Path, remark: Remark = lambda text: None) -> Iterator[Decoded]:
    """All sound frames of a file's best video stream, in order of presentation.

    Frames that are marked as interlaced are deinterlaced.

    Args:
      path: a video file of any container that FFmpeg reads.
      remark: called with INTERLACED, WIDE or HDR where that holds, maybe repeatedly.
    Raises: FileNotFoundError. UndecodableError, after the frames that came before.
    """
    try:
        with av.open(str(path)) as container:
            stream = _best_stream(container.streams.video)
            # Threads by frame would notice damage at a place that depends on their number.
            stream.thread_type = "SLICE"
            rate = float(stream.guessed_rate or stream.average_rate or 25)
            aspect = _pixel_aspect(stream)
            empty = True
            stored = _stored(container.decode(stream), rate, remark)
            for time, frame, orientation in _deinterlaced(stored, remark):
                empty = False
                yield Decoded(time, _thumbnail(frame), frame, aspect, orientation)
            if empty:
                raise UndecodableError("it holds no frames")
    except (UndecodableError, FileNotFoundError):
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UndecodableError(f"decoding failed: {error}") from error


def shown(decoded: Decoded, short_side: int) -> np.ndarray:
    """A frame as a player shows it, (h, w, 3) uint8: square pixels, upright.

    Args:
      decoded: the frame.
      short_side: shorter side in pixels. Only ever downscales, with antialiasing.
    """
    frame = decoded.frame
    image = Image.fromarray(to_rgb(frame))
    width = round(frame.width * decoded.aspect)
    scale = min(1.0, short_side / min(width, frame.height))
    size = (max(1, round(width * scale)), max(1, round(frame.height * scale)))
    if size != image.size:
        # Pillow's filters widen with the downscaling factor, so nothing aliases.
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.ascontiguousarray(decoded.orientation.apply(np.asarray(image)))


def to_rgb(frame: Any) -> np.ndarray:
    """The pixels of an `av.VideoFrame`, (h, w, 3) uint8, right to one level.

    Its `colorspace` and `color_range` say how to compute them, see `set_matrix`.
    """
    parts = frame.format.components
    # FFmpeg's direct way from subsampled YUV to RGB repeats chroma instead of
    # interpolating it, and is off by up to three levels.
    if any(part.is_chroma for part in parts):
        deep = max(part.bits for part in parts) > 8
        frame = frame.reformat(format="yuv444p16le" if deep else "yuv444p")
    return frame.to_ndarray(format="rgb24")


def set_matrix(frame: Any) -> None:
    """Sets the colour matrix of a YUV frame that has none.

    BT.709 for high definition, a long side of at least 1280 or a short one of more than
    576 pixels, else BT.601: what players do, and what FFmpeg left alone does not.

    Raises: UndecodableError for a matrix that cannot be applied.
    """
    if frame.colorspace in _MATRICES or frame.format.is_rgb:
        return
    if frame.colorspace not in _UNKNOWN_MATRICES:
        number = int(frame.colorspace)
        name = _MATRIX_NAMES.get(number, f"number {number} of ITU-T H.273")
        raise UndecodableError(f"its colour matrix ({name}) cannot be applied")
    long, short = max(frame.width, frame.height), min(frame.width, frame.height)
    large = long >= _LARGEST_SD[0] or short > _LARGEST_SD[1]
    frame.colorspace = _BT709 if large else _BT601


def orientation_of(matrix: bytes | None) -> Orientation:
    """What a display matrix says, to the nearest multiple of 90 degrees.

    Args:
      matrix: nine int32 in the machine's byte order, rows (a, b, u), (c, d, v) and
        (x, y, w): the pixel at (x, y) is shown at (ax + cy, bx + dy). None: upright.
    """
    if matrix is None or len(matrix) < 36:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix[:36], np.int32)[:5].astype(np.int64).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def _best_stream(streams: Iterable[Any]) -> Any:
    """The film among the video streams: cover pictures and thumbnails are streams too.

    Of several, one that is marked as the default, then the largest, then the first.
    """
    kinds = av.stream.Disposition
    other = kinds.attached_pic | kinds.timed_thumbnails
    found = list(streams)
    films = [stream for stream in found if not stream.disposition & other]
    if not found:
        raise UndecodableError("it has no video stream")
    if not films:
        raise UndecodableError("it has a cover picture, but no video stream")

    def rank(stream: Any) -> tuple[bool, int]:
        context, default = stream.codec_context, stream.disposition & kinds.default
        return bool(default), (context.width or 0) * (context.height or 0)

    return max(films, key=rank)


def _stored(
    frames: Iterable[av.VideoFrame], rate: float, remark: Remark
) -> Iterator[_Stored]:
    """The sound frames with their times, orientations and matrices."""
    for time, frame in _timed(frames, rate):
        if frame.is_corrupt:
            continue
        set_matrix(frame)
        if frame.color_trc in _HDR_TRANSFERS:
            remark(HDR.format(_HDR_TRANSFERS[int(frame.color_trc)]))
        elif frame.color_primaries == _BT2020_PRIMARIES:
            remark(WIDE)
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        oriented = orientation_of(None if matrix is None else bytes(matrix))
        yield _Stored(time, frame, oriented)


def _deinterlaced(frames: Iterable[_Stored], remark: Remark) -> Iterator[_Stored]:
    """The frames with both fields of an interlaced one at the time of its first.

    From the first frame on that is marked as interlaced, FFmpeg's bwdif fills in the
    lines of the later field; frames without the mark pass unchanged.
    """
    graph: _Graph | None = None
    damage: Exception | None = None
    try:
        for stored in frames:
            if stored.frame.interlaced_frame:
                remark(INTERLACED)
            if graph is not None and not graph.fits(stored.frame):
                yield from graph.finish()  # Some streams change size on the way.
                graph = None
            if graph is None and stored.frame.interlaced_frame:
                graph = _Graph(stored.frame)
            if graph is None:
                yield stored
            else:
                yield from graph.put(stored)
    except (av.FFmpegError, OSError, ValueError) as error:
        damage = error  # The filter still holds a frame that came before.
    if graph is not None:
        yield from graph.finish()
    if damage is not None:
        raise damage


class _Graph:
    """The filter bwdif for frames of one size and format: one frame out for each in."""

    def __init__(self, first: Any) -> None:
        self._kind = self._kind_of(first)
        self._waiting: collections.deque[tuple[_Stored, int, int]] = collections.deque()
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=first.width,
            height=first.height,
            format=first.format,
            time_base=first.time_base or Fraction(1, 1000),
        )
        filtered = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(filtered)
        filtered.link_to(sink)
        self._graph.configure()

    @staticmethod
    def _kind_of(frame: Any) -> tuple[Any, ...]:
        return frame.width, frame.height, frame.format.name, frame.time_base

    def fits(self, frame: Any) -> bool:
        """Whether the filter takes frames like this."""
        return self._kind_of(frame) == self._kind

    def put(self, stored: _Stored) -> Iterator[_Stored]:
        """Takes a frame in; gives out those that are ready, one behind."""
        frame = stored.frame
        self._waiting.append((stored, frame.colorspace, frame.color_range))
        self._graph.push(frame)
        yield from self._ready()

    def finish(self) -> Iterator[_Stored]:
        """Gives out the rest."""
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[_Stored]:
        while self._waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            stored, matrix, color_range = self._waiting.popleft()
            # The filter may lose what says how to compute colours.
            if not frame.format.is_rgb:
                frame.colorspace, frame.color_range = matrix, color_range
            yield stored._replace(frame=frame)


def _timed(
    frames: Iterable[av.VideoFrame], rate: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Each frame with its time in seconds.

    AVI stores no presentation times, and those that the demuxer makes up swap frames.
    The rule is that of FFmpeg's own player (`guess_correct_pts` in libavcodec): the
    presentation time, until it has run backwards more often than the decoding time.
    Streams without either count frames at the nominal rate.
    """
    last: list[float] = [-math.inf, -math.inf]
    faults = [0, 0]
    for index, frame in enumerate(frames):
        stamps = (frame.pts, frame.dts)
        for kind, stamp in enumerate(stamps):
            if stamp is not None:
                faults[kind] += stamp <= last[kind]
                last[kind] = stamp
        pts, dts = stamps
        faulty = pts is None or (dts is not None and faults[0] > faults[1])
        stamp = dts if faulty else pts
        if stamp is None or frame.time_base is None:
            yield index / rate, frame
        else:
            yield float(stamp * frame.time_base), frame


def _thumbnail(frame: av.VideoFrame) -> np.ndarray:
    """(32, 32) float32 luma, 0..255."""
    small = frame.reformat(
        width=_THUMBNAIL, height=_THUMBNAIL, format="gray", interpolation="AREA"
    )
    return small.to_ndarray().astype(np.float32)


def _pixel_aspect(stream: Any) -> float:
    """Width of a pixel over its height, 1 where the file's value cannot be right."""
    aspect = float(stream.sample_aspect_ratio or 1)
    low, high = _PLAUSIBLE_ASPECT
    return aspect if low <= aspect <= high else 1.0
