"""What a player does after decoding: colours, orientation, fields, the right stream."""

from types import SimpleNamespace

import av
import numpy as np
import pytest

from pim_jax.data import clips, decoding

# Shares of red and blue in luma, from the standards: BT.709, FCC 73.682, BT.601 twice
# (as PAL and as NTSC), SMPTE 240M, BT.2020.
SHARES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
FORMATS = {
    "yuv420p": 8,
    "yuv422p": 8,
    "yuv444p": 8,
    "nv12": 8,
    "yuv420p10le": 10,
    "yuv444p12le": 12,
}
LIMITED, FULL = 1, 2
BLOCK = 8


def colours(rows=6, columns=8):
    """Random colours in blocks, (48, 64, 3) uint8: away from edges chroma is exact."""
    some = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
    return some.repeat(BLOCK, 0).repeat(BLOCK, 1)


def inside(image):
    """The middle of each block."""
    height, width = image.shape[:2]
    blocks = image.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    return blocks[:, 3:5, :, 3:5].astype(float)


def luma_and_chroma(rgb, matrix, color_range, bits=8):
    """(3, h, w) whole numbers: Y, Cb, Cr as the standards define them."""
    red, blue = SHARES[matrix]
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    if color_range == FULL:
        levels = 2**bits - 1
        planes = [y * levels, *(c * levels + 2 ** (bits - 1) for c in (cb, cr))]
    else:
        scale = 2 ** (bits - 8)
        planes = [scale * (16 + 219 * y), *(scale * (128 + 224 * c) for c in (cb, cr))]
    return np.clip(np.rint(planes), 0, 2**bits - 1).astype(np.uint16)


def frame_of(planes, pix_fmt, bits, matrix, color_range):
    """A frame with these samples; chroma is the first of each group."""
    height, width = planes[0].shape
    planar = "yuv420p" if pix_fmt == "nv12" else pix_fmt
    frame = av.VideoFrame(width, height, planar)
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    for plane, values in zip(frame.planes, planes, strict=True):
        few = values[:: height // plane.height, :: width // plane.width]
        padded = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        padded[:, : few.shape[1]] = few
        plane.update(padded.tobytes())
    if planar != pix_fmt:
        frame = frame.reformat(format=pix_fmt)
    frame.colorspace, frame.color_range = matrix, color_range
    return frame


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", SHARES)
def test_colours_are_those_of_the_standard(matrix, color_range, pix_fmt):
    bits = FORMATS[pix_fmt]
    planes = luma_and_chroma(colours(), matrix, color_range, bits)
    frame = frame_of(planes, pix_fmt, bits, matrix, color_range)
    decoding.set_matrix(frame)
    found = decoding.to_rgb(frame)
    # One level for rounding the planes, which chroma doubles, and one for FFmpeg's.
    limit = 3 if bits == 8 else 1
    assert np.abs(inside(found) - inside(colours())).max() <= limit
    # Other matrices are far away, so that the test can tell.
    assert np.abs(inside(found) - inside(colours())).mean() < 1


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((576, 720), 5),
        ((640, 480), 5),
        ((480, 640), 5),
        ((720, 1280), 1),
        ((1280, 720), 1),
        ((544, 1280), 1),
        ((1080, 1920), 1),
    ],
)
@pytest.mark.parametrize("unknown", [0, 2, 3])
def test_a_frame_without_a_matrix_gets_one_by_its_size(size, matrix, unknown):
    frame = av.VideoFrame(size[1], size[0], "yuv420p")
    frame.colorspace = unknown
    decoding.set_matrix(frame)
    assert frame.colorspace == matrix


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_other_matrices_are_refused_by_name(matrix):
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.colorspace = matrix
    with pytest.raises(decoding.UndecodableError, match="its colour matrix"):
        decoding.set_matrix(frame)


def write_planes(path, planes, matrix, color_range, tags=None):
    """Two frames in FFV1, the second darker, tagged with the matrix or with `tags`."""
    height, width = planes[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        context = stream.codec_context
        context.colorspace, context.color_range = tags or (matrix, color_range)
        for darker in (0, 8):
            shifted = [np.maximum(planes[0], darker) - darker, *planes[1:]]
            frame = frame_of(shifted, "yuv444p", 8, matrix, color_range)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 6, 7, 9])
def test_a_file_keeps_its_colours(tmp_path, matrix, color_range):
    planes = luma_and_chroma(colours(), matrix, color_range)
    path = write_planes(tmp_path / "a.mkv", planes, matrix, color_range)
    (run,) = clips.read_runs(path, clips.Sampling())
    assert np.abs(inside(run.frames[0]) - inside(colours())).max() <= 3


@pytest.mark.parametrize(("rows", "columns", "matrix"), [(6, 8, 5), (6, 160, 1)])
def test_a_file_without_a_matrix(tmp_path, rows, columns, matrix):
    wanted = colours(rows, columns)
    planes = luma_and_chroma(wanted, matrix, LIMITED)
    path = write_planes(tmp_path / "a.mkv", planes, matrix, LIMITED, tags=(2, 0))
    (run,) = clips.read_runs(path, clips.Sampling())
    assert np.abs(inside(run.frames[0]) - inside(wanted)).max() <= 3


def test_a_file_with_another_matrix_is_undecodable(tmp_path):
    planes = luma_and_chroma(colours(), 1, FULL)
    path = write_planes(tmp_path / "a.mkv", planes, 1, FULL, tags=(8, FULL))
    with pytest.raises(clips.UndecodableError, match="YCgCo"):
        clips.check_decodes(path)


def display_matrix(a, b, c, d):
    """Nine numbers for a file or a frame: where (x, y) goes, (ax + cy, bx + dy)."""
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


def set_display_matrix(path, numbers):
    """Writes the matrix into the header of the only track of an MP4 file."""
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 40
    matrix = np.array(numbers, ">i4").tobytes()
    path.write_bytes(data[:start] + matrix + data[start + len(matrix) :])


# The eight ways to put a picture on a screen, with NumPy's operations on (n, h, w, 3).
ORIENTATIONS = {
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, 1): lambda x: x[:, :, ::-1],
    (1, 0, 0, -1): lambda x: x[:, ::-1],
    (-1, 0, 0, -1): lambda x: np.rot90(x, 2, (1, 2)),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1, (1, 2)),
    (0, 1, -1, 0): lambda x: np.rot90(x, -1, (1, 2)),
    (0, 1, 1, 0): lambda x: x.transpose(0, 2, 1, 3),
    (0, -1, -1, 0): lambda x: np.rot90(x, 2, (1, 2)).transpose(0, 2, 1, 3),
}


@pytest.mark.parametrize("numbers", ORIENTATIONS, ids=str)
def test_orientation(tmp_path, write_clip, moving, numbers):
    frames = moving(0, 3)
    path = write_clip(tmp_path / "a.mp4", frames, codec="libx264", pix_fmt="yuv444p")
    (stored,) = clips.read_runs(path, clips.Sampling())
    set_display_matrix(path, display_matrix(*numbers))
    (run,) = clips.read_runs(path, clips.Sampling())
    np.testing.assert_array_equal(run.frames, ORIENTATIONS[numbers](stored.frames))


@pytest.mark.parametrize("numbers", ORIENTATIONS, ids=str)
def test_the_matrix_says_where_a_pixel_goes(numbers):
    a, b, c, d = numbers
    image = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    matrix = np.array(display_matrix(*numbers), np.int32).tobytes()
    found = decoding.orientation_of(matrix).apply(image)
    y, x = np.mgrid[:4, :2]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    np.testing.assert_array_equal(found[down, across], image)


@pytest.mark.parametrize("degrees", [-30, 0, 40, 60, 130, 200, 300])
def test_other_angles_go_to_the_nearest_right_one(degrees):
    # As PyAV's set_display_rotation: counterclockwise.
    angle = np.deg2rad(degrees)
    a, b, c, d = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    numbers = [round(v * 65536) for v in (a, b, 0, c, d, 0, 0, 0, 16384)]
    image = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    found = decoding.orientation_of(np.array(numbers, np.int32).tobytes()).apply(image)
    np.testing.assert_array_equal(found, np.rot90(image, round(degrees / 90)))


@pytest.mark.parametrize("matrix", [None, b"", bytes(36)])
def test_without_a_matrix_a_picture_is_upright(matrix):
    assert decoding.orientation_of(matrix) == decoding.Orientation()


def interlace(moments):
    """Frames of which the lower field is earlier; greys, as chroma would be mixed."""
    frames = []
    for early, late in zip(moments[::2], moments[1::2], strict=True):
        frame = np.repeat(early.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
        later = np.repeat(late.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
        frame[::2] = later[::2]
        frames.append(frame)
    return frames


def write_interlaced(path, frames, codec="mpeg2video"):
    height, width = frames[0].shape[:2]
    options = {"flags": "+ildct+ilme"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 20_000_000
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def combing(image):
    """How far lines are from the mean of their neighbours."""
    grey = image.astype(float).mean(-1)
    return np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean()


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_interlaced_clips_are_deinterlaced(tmp_path, moving, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec} encoder")
    moments = moving(0, 24, size=(192, 128), speed=3)
    frames = interlace(moments)
    path = write_interlaced(tmp_path / "a.mkv", frames, codec)
    remarks = set()
    (run,) = clips.read_runs(
        path, clips.Sampling(gap_seconds=0.04, run_length=12), remark=remarks.add
    )
    assert remarks == {decoding.INTERLACED}
    np.testing.assert_allclose(run.times, np.arange(12) / 25, atol=1e-3)
    greys = np.stack([moment.mean(-1) for moment in moments[::2]])
    for found, stored, grey in zip(run.frames, frames, greys, strict=True):
        assert combing(found) < 0.5 * combing(stored)
        error = np.abs(found.mean(-1) - grey).mean()
        assert error < 0.75 * np.abs(stored.mean(-1) - grey).mean()


def test_progressive_clips_pass_without_a_filter(tmp_path, write_clip, moving):
    frames, remarks = moving(0, 4), set()
    path = write_clip(tmp_path / "a.mkv", frames)
    (run,) = clips.read_runs(path, clips.Sampling(), remark=remarks.add)
    np.testing.assert_array_equal(run.frames, frames)
    assert not remarks


def test_the_filter_gives_out_what_came_before_damage(tmp_path, moving):
    path = write_interlaced(tmp_path / "a.mkv", interlace(moving(0, 12)))
    frames = [decoded.frame for decoded in decoding.decode(path)]

    def damaged():
        for frame in frames[:3]:
            yield decoding._Stored(0.0, frame, decoding.Orientation())
        raise ValueError("damage")

    graph_input = [decoding._Stored(0.0, f, decoding.Orientation()) for f in frames]
    assert len([*decoding._deinterlaced(iter(graph_input), print)]) == 6
    found = decoding._deinterlaced(damaged(), print)
    assert len([next(found) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match="damage"):
        next(found)


def write_with_cover(path, frames):
    """A film in MP4 and a cover picture, larger than it, as a stream after it."""
    cover = np.full((96, 128, 3), 200, np.uint8)
    with av.open(str(path), "w") as container:
        kinds = [("libx264", frames, "yuv420p"), ("mjpeg", [cover], "yuvj420p")]
        streams = []
        for codec, pictures, pix_fmt in kinds:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = pix_fmt
            streams.append(stream)
        streams[1].disposition = av.stream.Disposition.attached_pic.value
        for stream, (_, pictures, _) in zip(streams, kinds, strict=True):
            for image in pictures:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def boxes(data):
    """The boxes of an MP4 file, or of the content of one: (kind, all bytes)."""
    while data:
        size = int.from_bytes(data[:4], "big")
        yield data[4:8], data[:size]
        data = data[size:]


def put_cover_first(path, film=True):
    """Moves the box with the cover before the track, or drops the track."""
    parts = []
    for kind, whole in boxes(path.read_bytes()):
        if kind == b"moov":
            inner = sorted(boxes(whole[8:]), key=lambda box: box[0] == b"trak")
            kept = b"".join(box for kind, box in inner if film or kind != b"trak")
            whole = (8 + len(kept)).to_bytes(4, "big") + b"moov" + kept
        parts.append(whole)
    path.write_bytes(b"".join(parts))


def covers(path):
    """Of each video stream whether it is a cover picture."""
    with av.open(str(path)) as container:
        return [
            bool(s.disposition & av.stream.Disposition.attached_pic)
            for s in container.streams.video
        ]


def test_a_cover_picture_is_not_the_film(tmp_path, moving):
    path = write_with_cover(tmp_path / "a.mp4", moving(0, 4))
    assert covers(path) == [False, True]
    (expected,) = clips.read_runs(path, clips.Sampling())
    assert expected.frames.shape == (4, 48, 64, 3)
    put_cover_first(path)
    assert covers(path) == [True, False]
    (run,) = clips.read_runs(path, clips.Sampling())
    np.testing.assert_array_equal(run.frames, expected.frames)
    put_cover_first(path, film=False)
    assert covers(path) == [True]
    with pytest.raises(clips.UndecodableError, match="a cover picture, but no video"):
        clips.check_decodes(path)


def stream(width, height, *kinds):
    flags = av.stream.Disposition(0)
    for kind in kinds:
        flags |= av.stream.Disposition[kind]
    context = SimpleNamespace(width=width, height=height)
    return SimpleNamespace(disposition=flags, codec_context=context)


@pytest.mark.parametrize(
    ("streams", "best"),
    [
        ([stream(64, 48), stream(128, 96), stream(128, 96)], 1),
        ([stream(128, 96), stream(64, 48, "default")], 1),
        ([stream(256, 96, "default", "attached_pic"), stream(64, 48)], 1),
        ([stream(256, 96, "timed_thumbnails"), stream(64, 48)], 1),
    ],
)
def test_the_best_of_several_streams(streams, best):
    assert decoding._best_stream(streams) is streams[best]
