"""Video input and output with PyAV: `pip install "posezoo[video]"`.

`read_video` decodes a file or a webcam frame by frame, `write_video` and `VideoWriter` encode
H.264 in MP4. Frames are uint8 RGB arrays `(H, W, 3)`. One frame at a time is held in memory,
besides the few that the codec keeps.

    for image, time in read_video("clip.mp4"):
        people = posezoo.predict(image)
"""

import contextlib
import itertools
import math
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np

from posezoo.arrays import explained
from posezoo.writing import replacing

VIDEO_FILES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
    ".wmv",
)  # fmt: skip
DEFAULT_FPS = 25.0  # of a source that states no frame rate; FFmpeg's own default
STAMP_ERROR = 1e-3  # seconds; Matroska rounds time stamps to milliseconds
LENGTH_ERROR = 0.5  # seconds by which the stated duration of an intact file may exceed its frames
DISORDER = 1.0  # seconds; larger steps back begin a new recording
WEBCAM_WAIT = 5e-3  # seconds between two requests to a webcam that has no new frame
TIMESCALE = 90_000  # ticks per second of time stamps; MPEG's clock
BT709 = 1  # code of ITU-R BT.709 in H.264 (table E-3 to E-5), for matrix, primaries and transfer alike
LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG: luma in 16 to 235


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
        image: uint8 RGB `(H, W, 3)`, upright.
        time: seconds since the first frame.
    """

    image: np.ndarray
    time: float


class VideoReader:
    """Frames of a video, returned by `read_video`. Each iteration starts at the first frame.

    Attributes:
        source: path of the file, or index of the webcam.
        fps: average frames per second, or the rate requested from `read_video`.
        size: (H, W) of the upright frames in pixels.
        duration: seconds as stated by the file. None if unknown, as for a webcam.
        num_frames: number of frames as stated by the file, or duration times rate. It may be wrong
            by a few frames, or by more for a damaged file. None if unknown.
    """

    def __init__(self, source: str | Path | int, *, fps: float | None = None) -> None:
        if fps is not None and not 0 < fps < math.inf:
            raise ValueError(f"fps: expected a positive number of frames per second, or None for all, got {fps}")
        self.source = source
        self._rate = fps
        container, stream = _open(source)
        rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
        self._step = 1 / rate
        self.fps = fps or rate
        self.duration = _duration(container, stream)
        stated = stream.frames if fps is None else 0
        self.num_frames: int | None = stated or (None if self.duration is None else round(self.duration * self.fps))

        # the orientation is known once a frame is decoded; the first iteration goes on from here
        frames = _decode(container, stream, str(source), self._step)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{source}: no frame can be decoded, the video is empty or damaged; copy it again")
        height, width = first.image.shape[:2]
        self.size = (height, width)
        self._started: Iterator[Frame] | None = itertools.chain([first], frames)

    def __iter__(self) -> Iterator[Frame]:
        frames, self._started = self._started, None
        if frames is None:
            frames = _decode(*_open(self.source), str(self.source), self._step)
        return frames if self._rate is None else _resample(frames, self._rate)

    def __repr__(self) -> str:
        length = "" if self.duration is None else f", {self.duration:.2f} s"
        return f"VideoReader({str(self.source)!r}, {self.size[1]} x {self.size[0]}, {self.fps:.4g} fps{length})"


def is_video(source: Any) -> bool:
    """Whether this is a path with the suffix of a video.

    Examples:
        >>> is_video("holidays/clip.MP4"), is_video(Path("photo.jpg"))
        (True, False)
    """
    return isinstance(source, str | Path) and Path(source).suffix.lower() in VIDEO_FILES


@explained
def read_video(source: str | Path | int, *, fps: float | None = None) -> VideoReader:
    """Open a video file or a webcam; frames are decoded during iteration.

    Frames of rotated or mirrored recordings (phones store a display matrix) are returned upright.
    Audio is ignored. Time stamps are those of the file, also where the frame rate varies, and
    increase. Where the size of the frames changes within a video, later frames are scaled to the
    first one's size.

    Args:
        source: path of the file, or index of a webcam, 0 for the first one.
        fps: frames per second to resample to. Returned are the frames at times 0, 1 / fps, 2 / fps
            and so on, up to the last frame's time: for each time the nearest frame, the earlier one
            of two equally near. A repeated frame is the same array. Defaults to all frames, as
            stored.

    Returns:
        Iterable over `Frame(image, time)`, with the attributes `fps`, `size`, `duration` and
        `num_frames`.

    Raises:
        ValueError: if there is no such file, it is not a video, or no frame can be decoded.
        ImportError: if PyAV is missing.

    Warns:
        UserWarning: at the end of the iteration, if the file is damaged or ends early. Frames that
            cannot be decoded or come out of order are left out; the others keep their time stamps.

    Examples:
        >>> import tempfile
        >>> clip = Path(tempfile.mkdtemp(), "clip.mp4")
        >>> write_video(clip, [np.full((32, 48, 3), 20 * k, np.uint8) for k in range(10)], fps=25)
        >>> video = read_video(clip)
        >>> video.fps, video.size, video.duration, video.num_frames
        (25.0, (32, 48), 0.4, 10)
        >>> [time for image, time in video][:3]
        [0.0, 0.04, 0.08]
        >>> [time for image, time in read_video(clip, fps=5)]
        [0.0, 0.2]
    """
    return VideoReader(source, fps=fps)


@explained
def read_frames(source: str | Path, numbers: Sequence[int]) -> list[np.ndarray]:
    """Decode single frames of a video file.

    Decoding starts at the keyframe before the first of them, so that a few neighbouring frames of a
    long video are cheap. A frame is found by its time stamp and the file's rate, which must be
    constant.

    Args:
        source: a file.
        numbers: of the frames, from 0, in any order.

    Returns:
        uint8 RGB arrays `(H, W, 3)`, one per number.

    Raises:
        ImportError: PyAV is missing.
        ValueError: a file that cannot be read, or a frame that it does not have.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "clip.mp4")
        >>> write_video(path, (np.full((64, 64, 3), 8 * grey, np.uint8) for grey in range(12)), fps=25)
        >>> [int(image.mean().round()) for image in read_frames(path, [9, 2])]
        [72, 16]
    """
    wanted = set(numbers)
    found: dict[int, np.ndarray] = {}
    container, stream = _open(source)
    with container:
        rate, start = stream.average_rate, stream.start_time or 0
        if not rate or min(wanted, default=0) < 0:
            raise ValueError(f"{source}: expected a file that states its frame rate, and frame numbers from 0")
        container.seek(start + int(min(wanted, default=0) / rate / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            number = len(found) if frame.pts is None else round((frame.pts - start) * stream.time_base * rate)
            if number in wanted:
                found[number] = _upright(
                    frame.reformat(format="rgb24").to_ndarray(), frame.side_data.get("DISPLAYMATRIX")
                )
            if len(found) == len(wanted):
                break
    missing = sorted(wanted - found.keys())
    if missing:
        raise ValueError(f"{source} has no frame {missing[0]}, counted from 0, like {len(missing)} of those asked for")
    return [found[number] for number in numbers]


class VideoWriter:
    """Encode frames to MP4: H.264, yuv420p, BT.709; constant frame rate or time stamps.

    The file appears when the `with` block ends, and not at all if the block raises. An odd height
    or width is padded by repeating the last row or column, because yuv420p has one colour per two
    by two pixels.

    Args:
        path: file name that ends in `.mp4`. An existing file is replaced.
        fps: frames per second.

    Attributes:
        num_frames: number of frames written.

    Raises:
        ValueError: if the name has another ending or `fps` is not positive; at the end of the
            block, if no frame was written.
        ImportError: if PyAV is missing.

    Examples:
        >>> import tempfile
        >>> clip = Path(tempfile.mkdtemp(), "clip.mp4")
        >>> with VideoWriter(clip, fps=30) as writer:
        ...     for brightness in range(0, 250, 25):
        ...         writer.write(np.full((31, 47, 3), brightness, np.uint8))
        >>> writer.num_frames, read_video(clip).size
        (10, (32, 48))
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self._av = _pyav()
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{path}: expected a file name that ends in .mp4; the format is H.264 in MP4")
        # 1001 is the denominator of NTSC's rates, such as 30000 / 1001
        self._fps = Fraction(fps).limit_denominator(1001) if 0 < fps < math.inf else Fraction(0)
        if not self._fps:
            raise ValueError(f"fps: expected a positive number of frames per second, got {fps}")
        self._file = contextlib.ExitStack()  # closes the container, then renames the file, or removes it after an error
        self._container: Any = None
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()
        self._timed, self._last = False, -1
        self._time_base = Fraction(1)
        self.num_frames = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, image: Any, time: float | None = None) -> None:
        """Append one frame.

        Args:
            image: uint8 RGB `(H, W, 3)`, of the same size as the first frame.
            time: seconds since the beginning, later than that of the frame before; for all frames
                or for none. Defaults to the number of the frame divided by `fps`.

        Raises:
            ValueError: for another type, shape or size, or a time that does not increase.
        """
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(
                f"frame {self.num_frames}: expected uint8 RGB of shape (H, W, 3), got {pixels.dtype} "
                f"{pixels.shape}; convert floats in [0, 1] with (image * 255).round().astype(np.uint8)"
            )
        number = self.num_frames if time is None else round(time * TIMESCALE)
        if self.num_frames and ((time is None) is self._timed or number <= self._last):
            raise ValueError(
                f"time: frame {self.num_frames} has {time} s; expected increasing times for all frames or for none"
            )
        if self._container is None:
            self._open(pixels.shape, time is not None)
        elif pixels.shape != self._shape:
            raise ValueError(
                f"frame {self.num_frames}: expected the first frame's shape {self._shape}, got {pixels.shape}; "
                "resize or crop all frames to one size"
            )
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = number, self._time_base
        self._last = number
        self._container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._file.__exit__(kind, error, traceback)
            return
        with self._file:
            if not self.num_frames:
                raise ValueError(f"{self.path}: no frames to write; a video needs one at least")
            self._container.mux(self._stream.encode())

    def _open(self, shape: tuple[int, ...], timed: bool) -> None:
        self._shape, self._timed = shape, timed
        self._time_base = Fraction(1, TIMESCALE) if timed else 1 / self._fps
        part = self._file.enter_context(replacing(self.path))
        self._container = self._file.enter_context(self._av.open(str(part), "w", format="mp4"))
        self._stream = self._container.add_stream("libx264", rate=self._fps)
        self._stream.height, self._stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        self._stream.pix_fmt = "yuv420p"
        if timed:
            self._stream.codec_context.time_base = self._time_base
        # players guess the colours of untagged files from the size of the frames
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE


def write_video(path: str | Path, frames: Iterable[Any], fps: float) -> None:
    """Write frames to an MP4 file, one at a time; see `VideoWriter`.

    Args:
        path: file name that ends in `.mp4`. An existing file is replaced.
        frames: uint8 RGB images `(H, W, 3)` of one size; a generator works.
        fps: frames per second.

    Raises:
        ValueError: for no frames, frames of another type, shape or size, another ending of the
            name, or an `fps` that is not positive. No file is left then.
        ImportError: if PyAV is missing.

    Examples:
        >>> import tempfile
        >>> clip = Path(tempfile.mkdtemp(), "clip.mp4")
        >>> write_video(clip, (np.full((24, 32, 3), k, np.uint8) for k in range(100)), fps=50)
        >>> read_video(clip)
        VideoReader('...clip.mp4', 32 x 24, 50 fps, 2.00 s)
    """
    with VideoWriter(path, fps) as writer:
        for image in frames:
            writer.write(image)


# ------------------------------------------------------------------------------------------------------------- decoding


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ImportError('videos need the package PyAV: pip install "posezoo[video]"') from error
    return av


def _open(source: str | Path | int) -> tuple[Any, Any]:
    """Container and video stream of a source."""
    av = _pyav()
    try:
        container = _open_webcam(av, source) if isinstance(source, int) else av.open(str(source))
    except av.FFmpegError as error:
        if isinstance(source, int):
            raise ValueError(
                f"webcam {source} cannot be opened: {error}; check that it is connected, allowed, and not in use"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"{source}: no such file; pass the path of a video, or the index of a webcam") from error
        if isinstance(error, IsADirectoryError):
            raise ValueError(f"{source} is a folder; pass the path of a video file") from error
        raise ValueError(f"{source} cannot be read as a video: {error}; pass a format that FFmpeg reads") from error
    stream = container.streams.best("video")
    if stream is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise ValueError(f"{source} contains no video, only {kinds}; pass the path of a video file")
    stream.thread_type = "AUTO"  # frames in parallel, not only slices of one
    return container, stream


def _open_webcam(av: ModuleType, index: int) -> Any:
    if index < 0:
        raise ValueError(f"webcam: expected an index from 0, got {index}")
    if sys.platform == "darwin":
        return av.open(str(index), format="avfoundation", options={"framerate": "30"})  # its default suits few cameras
    if sys.platform == "win32":
        names = [device.name for device in av.enumerate_input_devices("dshow") if "video" in device.media_types]
        if index >= len(names):
            raise ValueError(f"webcam {index}: {len(names)} webcams are connected; pass an index below that")
        return av.open(f"video={names[index]}", format="dshow")
    return av.open(f"/dev/video{index}", format="v4l2")


def _duration(container: Any, stream: Any) -> float | None:
    """Duration in seconds of the stream, or of the container where the stream has none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None  # FFmpeg counts microseconds


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    while True:
        try:
            yield from container.demux(stream)
            return
        except BlockingIOError:  # a webcam without a new frame
            time.sleep(WEBCAM_WAIT)


def _decode(container: Any, stream: Any, name: str, step: float) -> Iterator[Frame]:
    """Upright frames with their times; `step` is the time between frames without time stamps."""
    av = _pyav()
    start, last, count, damaged = None, -step, 0, False
    end = 0.0  # of the packets, in seconds
    shape = (stream.width, stream.height)
    with container:
        try:
            for packet in _packets(container, stream):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                try:
                    decoded = packet.decode()
                except av.FFmpegError:  # later packets may be intact
                    damaged = True
                    continue
                for frame in decoded:
                    if start is None:
                        start = frame.time or 0.0
                        shape = (frame.width, frame.height)
                    now = last + step if frame.time is None else frame.time - start
                    if last - DISORDER < now <= last:  # a late frame, behind damage
                        continue
                    if now <= last:  # the time stamps begin anew, as where recordings are joined
                        start, now = frame.time - last - step, last + step
                    last, count = now, count + 1
                    pixels = frame.reformat(*shape, "rgb24").to_ndarray()
                    yield Frame(_upright(pixels, frame.side_data.get("DISPLAYMATRIX")), last)
        except av.FFmpegError:
            damaged = True

        # the duration of a container may be that of its audio
        stated = _duration(container, stream) if stream.duration or len(container.streams) == 1 else None
        short = stated is not None and end < stated - LENGTH_ERROR
        if count and (damaged or short):
            of = "" if stated is None else f" of {stated:.2f} s"
            warnings.warn(
                f"{name} is damaged or ends early: {count} frames were read, the last one at {last:.2f}{of or ' s'}",
                stacklevel=2,
            )


def _upright(pixels: np.ndarray, matrix: Any) -> np.ndarray:
    """Rotate and mirror an image by its display matrix, to the nearest right angle.

    The matrix holds nine numbers (a, b, u, c, d, v, x, y, w) and maps a stored pixel (p, q) to the
    displayed (a p + c q + x, b p + d q + y).
    """
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, flip_x, flip_y = pixels.swapaxes(0, 1), c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _resample(frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """Frames nearest to the times 0, 1 / fps, 2 / fps, …"""
    shown = next(frames)
    number = 0
    for frame in frames:
        while 2 * number / fps <= shown.time + frame.time + STAMP_ERROR:
            yield Frame(shown.image, number / fps)
            number += 1
        shown = frame
    while number / fps <= shown.time + STAMP_ERROR:
        yield Frame(shown.image, number / fps)
        number += 1
