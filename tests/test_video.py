"""Videos made here and read back: time stamps, orientation, damage, and how much is decoded and
kept.
"""

import re
import struct
import subprocess
import sys
import warnings
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from posezoo.video import VideoWriter, read_video, write_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install 'posezoo[video]'")

ONE = 1 << 16  # in a display matrix
SIZE = (48, 64)


@contextmanager
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def picture(number, size=SIZE):
    """A frame that carries its number in its colour."""
    image = np.zeros((*size, 3), np.uint8)
    image[...] = (8 * (number % 32), 8 * (number // 32), 100)
    return image


def number_of(image):
    red, green, _ = image.reshape(-1, 3).mean(axis=0)
    return round(red / 8) + 32 * round(green / 8)


def noise(count, size=SIZE):
    return [np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8) for k in range(count)]


def encode(path, images, times=None, *, fps=25, audio=0.0, keyframes=10, **options):
    """A video with the time stamps given in milliseconds, and so many seconds of silence."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"g": str(keyframes)}
        if times is not None:  # as phones do: in milliseconds, without B-frames
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.options = {"bf": "0"}
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[k], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * audio)), np.float32), "fltp", "mono")
            silence.rate, silence.pts = 8000, 0
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def write_display_matrix(path, a, b, c, d):
    """Overwrite the matrix in the track header of an MP4 file (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version 0
    content[at : at + 36] = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def cut(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


# -------------------------------------------------------------------------------------------------------------- reading


def test_frames_come_back_in_order(tmp_path):
    write_video(tmp_path / "clip.mp4", map(picture, range(40)), fps=30)
    video = read_video(tmp_path / "clip.mp4")
    assert (video.fps, video.size, video.num_frames) == (30, SIZE, 40)
    assert video.duration == pytest.approx(40 / 30, abs=1e-3)
    frames = list(video)
    assert [number_of(image) for image, _ in frames] == list(range(40))
    assert [time for _, time in frames] == pytest.approx([k / 30 for k in range(40)])
    assert all(image.dtype == np.uint8 and image.shape == (*SIZE, 3) for image, _ in frames)
    assert all(image.flags.c_contiguous and image.flags.writeable for image, _ in frames)


def test_colours_survive(tmp_path):
    colour = np.array([200, 50, 90])
    write_video(tmp_path / "clip.mp4", [np.full((*SIZE, 3), colour, np.uint8)], fps=25)
    image, _ = next(iter(read_video(tmp_path / "clip.mp4")))
    assert np.abs(image - colour).max() <= 2
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited range


def test_each_iteration_starts_at_the_first_frame(tmp_path):
    write_video(tmp_path / "clip.mp4", map(picture, range(12)), fps=25)
    video = read_video(tmp_path / "clip.mp4")
    for image, _ in video:
        if number_of(image) == 5:
            break
    for _ in range(2):
        assert [number_of(image) for image, _ in video] == list(range(12))
    both = [(number_of(a.image), number_of(b.image)) for a, b in zip(video, video, strict=True)]
    assert both == [(k, k) for k in range(12)]


ORIENTATIONS = {
    "upright": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "counter-clockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down and mirrored": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_rotated_recordings_are_returned_upright(tmp_path, name):
    a, b, c, d = ORIENTATIONS[name]
    stored = np.full((*SIZE, 3), 30, np.uint8)
    stored[4:12, 8:24] = (220, 40, 40)  # pixels (x, y) around (16, 8)
    path = encode(tmp_path / "clip.mp4", [stored] * 3)
    write_display_matrix(path, a, b, c, d)

    # the map of the centres of a block, moved so that the image begins at 0 (ISO 14496-12: [p q 1] times the matrix)
    corners = np.array([[-0.5, -0.5], [SIZE[1] - 0.5, SIZE[0] - 0.5]]) @ [[a, b], [c, d]]
    x, y = (np.array([15.5, 7.5]) @ [[a, b], [c, d]]) - corners.min(axis=0) - 0.5
    video = read_video(path)
    assert video.size == (SIZE if a else SIZE[::-1])
    for image, _ in video:
        assert image.shape == (*video.size, 3)
        rows, columns = np.nonzero(image[..., 0] > 125)
        assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.3)


def test_rotations_are_ffmpegs(tmp_path):
    """A quarter turn to the right is -90 degrees to FFmpeg, and a picture turned by NumPy's rot90."""
    stored = noise(1)[0] // 4
    stored[:16, :24] = 250
    path = encode(tmp_path / "clip.mp4", [stored])
    write_display_matrix(path, *ORIENTATIONS["clockwise"])
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == -90
    (image, _), *_ = read_video(path)
    np.testing.assert_array_equal(image, np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def test_variable_frame_rate_keeps_its_time_stamps(tmp_path):
    times = [0, 40, 80, 500, 510, 1700, 1740]
    for name in ("clip.mp4", "clip.mkv"):
        path = encode(tmp_path / name, [picture(k) for k in range(7)], times)
        with no_warnings():
            frames = list(read_video(path))
        assert [time for _, time in frames] == pytest.approx([time / 1000 for time in times], abs=1e-6)
        assert [number_of(image) for image, _ in frames] == list(range(7))


def test_time_counts_from_the_first_frame(tmp_path):
    path = encode(tmp_path / "clip.mkv", [picture(k) for k in range(3)], [5000, 5040, 5100])
    with no_warnings():
        assert [time for _, time in read_video(path)] == pytest.approx([0, 0.04, 0.1])


def test_frames_without_time_stamps_are_a_step_apart(tmp_path):
    path = encode(tmp_path / "clip.h264", [picture(k) for k in range(30)], fps=10, keyframes=1)
    video = read_video(path)
    times = [time for _, time in video]
    assert len(times) == 30
    np.testing.assert_allclose(np.diff(times), 1 / video.fps, atol=1e-6)


def test_audio_is_left_out(tmp_path):
    """Also where it goes on for longer than the pictures."""
    for name in ("clip.mp4", "clip.mkv"):
        path = encode(tmp_path / name, [picture(k) for k in range(10)], audio=3.0)
        with no_warnings():
            assert [number_of(image) for image, _ in read_video(path)] == list(range(10))


def test_frames_that_change_their_size_are_scaled_to_the_first(tmp_path):
    parts = [
        encode(tmp_path / f"{k}.ts", [picture(k, size)] * 50).read_bytes() for k, size in enumerate([SIZE, (96, 128)])
    ]
    (tmp_path / "clip.ts").write_bytes(b"".join(parts))
    frames = list(read_video(tmp_path / "clip.ts"))
    assert {image.shape for image, _ in frames} == {(*SIZE, 3)}
    assert [number_of(image) for image, _ in frames] == [0] * 50 + [1] * 50


def test_joined_recordings_go_on_in_time(tmp_path):
    part = encode(tmp_path / "part.ts", [picture(k) for k in range(50)]).read_bytes()
    (tmp_path / "clip.ts").write_bytes(part + part)
    frames = list(read_video(tmp_path / "clip.ts"))
    assert [number_of(image) for image, _ in frames] == [*range(50), *range(50)]
    assert [time for _, time in frames] == pytest.approx([k / 25 for k in range(100)], abs=1e-3)


# ----------------------------------------------------------------------------------------------------------- resampling


def resampled(path, fps):
    video = read_video(path, fps=fps)
    assert video.fps == fps
    frames = list(video)
    assert [time for _, time in frames] == pytest.approx([k / fps for k in range(len(frames))])
    assert abs(video.num_frames - len(frames)) <= max(2, fps / 25)
    return [number_of(image) for image, _ in frames]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])  # Matroska's time stamps are rounded to milliseconds
def test_resampling_a_constant_rate(tmp_path, name):
    path = encode(tmp_path / name, [picture(k) for k in range(30)], fps=30)
    assert resampled(path, 30) == list(range(30))
    assert resampled(path, 15) == list(range(0, 30, 2))
    assert resampled(path, 10) == list(range(0, 30, 3))
    assert resampled(path, 60) == sorted([*range(30), *range(29)])
    assert resampled(path, 1) == [0]


def test_resampling_a_variable_rate_takes_the_nearest(tmp_path):
    times = [0, 40, 80, 500, 510, 1700, 1740]
    path = encode(tmp_path / "clip.mp4", [picture(k) for k in range(7)], times)
    wanted = np.arange(0, 1.7401, 0.1)
    nearest = [int(np.abs(np.array(times) / 1000 - time).argmin()) for time in wanted]
    assert resampled(path, 10) == nearest


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf")])
def test_rates_have_to_be_positive(tmp_path, fps):
    with pytest.raises(ValueError, match="fps: expected a positive number"):
        read_video(tmp_path / "clip.mp4", fps=fps)
    with pytest.raises(ValueError, match="fps: expected a positive number"):
        VideoWriter(tmp_path / "clip.mp4", fps)


# --------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_broken_end_leaves_the_frames_before_it(tmp_path, name):
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}  # the index first, as in downloads
    path = encode(tmp_path / name, noise(50), **options)
    whole = list(read_video(path))
    cut(path, 0.6)
    with pytest.warns(UserWarning, match="damaged or ends early") as caught:
        frames = list(read_video(path))
    assert 15 < len(frames) < 40
    assert [str(warning.message) for warning in caught] == [
        f"{path} is damaged or ends early: {len(frames)} frames were read, the last one at "
        f"{frames[-1].time:.2f} of 2.00 s"
    ]
    for frame, expected in zip(frames[:-2], whole, strict=False):  # the last one may be incomplete
        np.testing.assert_array_equal(frame.image, expected.image)
        assert frame.time == expected.time


def test_frames_behind_damage_keep_their_time_stamps(tmp_path):
    path = encode(tmp_path / "clip.mp4", noise(50))
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content) * 55 // 100):
        content[at] = 255
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged") as caught:
        frames = list(read_video(path))
    assert len(caught) == 1
    assert 30 < len(frames) < 50
    np.testing.assert_allclose([time * 25 % 1 for _, time in frames], 0, atol=1e-6)
    assert frames[-1].time == pytest.approx(49 / 25)
    assert (np.diff([time for _, time in frames]) > 0).all()


def test_stopping_early_is_no_damage(tmp_path):
    write_video(tmp_path / "clip.mp4", map(picture, range(100)), fps=25)
    with no_warnings():
        for _, time in read_video(tmp_path / "clip.mp4"):
            if time > 1:
                break


def test_a_video_without_frames_is_an_error(tmp_path):
    path = encode(tmp_path / "clip.mp4", noise(20), movflags="faststart")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 8])
    with pytest.raises(ValueError, match=r"clip\.mp4: no frame can be decoded.* copy it again"):
        read_video(path)


def test_files_without_video_are_errors(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name, message in {
        "missing.mp4": r"missing\.mp4: no such file; pass the path",
        "text.mp4": r"text\.mp4 cannot be read as a video.*pass a format",
        "empty.mp4": r"empty\.mp4 cannot be read as a video",
        ".": "is a folder; pass the path of a video file",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_video(tmp_path / name)
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="contains no video, only audio"):
        read_video(tmp_path / "sound.m4a")


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for call in (lambda: read_video("clip.mp4"), lambda: VideoWriter(tmp_path / "clip.mp4", 25)):
        with pytest.raises(ImportError, match=r'pip install "posezoo\[video\]"'):
            call()


def test_importing_posezoo_video_imports_no_pyav():
    program = "import sys, posezoo.video; assert 'av' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -------------------------------------------------------------------------------------------------------------- webcams


@pytest.mark.parametrize(
    ("platform", "name", "format"),
    [("linux", "/dev/video1", "v4l2"), ("darwin", "1", "avfoundation"), ("win32", "video=Second", "dshow")],
)
def test_webcams_are_opened_by_index(tmp_path, monkeypatch, platform, name, format):
    write_video(tmp_path / "clip.mp4", map(picture, range(5)), fps=25)
    opened, real_open = [], av.open

    def pretend(file, *args, **options):
        opened.append((file, options.get("format")))
        return real_open(str(tmp_path / "clip.mp4"))

    def devices(format):
        assert format == "dshow"
        return [
            SimpleNamespace(name=name, media_types=[kind])
            for name, kind in (("First", "video"), ("Microphone", "audio"), ("Second", "video"))
        ]

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(av, "open", pretend)
    monkeypatch.setattr(av, "enumerate_input_devices", devices)
    assert [number_of(image) for image, _ in read_video(1)] == list(range(5))
    assert opened == [(name, format)]


def test_a_webcam_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"webcam 97( cannot be opened|: \d+ webcams)"):
        read_video(97)
    with pytest.raises(ValueError, match="expected an index from 0, got -1"):
        read_video(-1)


def test_a_webcam_without_a_new_frame_is_read_again(tmp_path, monkeypatch):
    from posezoo import video

    write_video(tmp_path / "clip.mp4", map(picture, range(5)), fps=25)
    real_open = av.open

    class Slow:
        def __init__(self):
            self.container, self.calls = real_open(str(tmp_path / "clip.mp4")), 0

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.container.close()

        def demux(self, stream):
            self.calls += 1
            if self.calls % 2:
                raise BlockingIOError
            for packet in self.container.demux(stream):
                yield packet
                if packet.size:
                    raise BlockingIOError

    monkeypatch.setattr(av, "open", lambda *args, **options: Slow())
    monkeypatch.setattr(video, "WEBCAM_WAIT", 0)
    assert [number_of(image) for image, _ in read_video(0)] == list(range(5))


# --------------------------------------------------------------------------------------------------------------- memory


def test_frames_are_decoded_when_they_are_needed(tmp_path, monkeypatch):
    from posezoo import video

    made = []
    real = video._upright
    monkeypatch.setattr(video, "_upright", lambda *args: made.append(None) or real(*args))
    write_video(tmp_path / "clip.mp4", map(picture, range(400)), fps=25)
    reader = read_video(tmp_path / "clip.mp4")
    assert len(made) == 1
    for count, (image, _) in enumerate(reader, start=1):
        assert number_of(image) == count - 1
        assert len(made) == count
    assert count == 400


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """10,000 frames of 160 x 120, 576 MB in all: written and read within what the first 1,000 need,
    and 40 MB.
    """
    program = f"""
import resource, sys
import numpy as np
from posezoo.video import read_video, write_video

def peak():  # MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

def pictures(count):
    for k in range(count):
        yield np.full((120, 160, 3), k % 250, np.uint8)

def read(path):
    return sum(1 for frame in read_video(path)), sum(1 for frame in read_video(path, fps=100))

write_video({str(tmp_path / "short.mp4")!r}, pictures(300), 50)
print(read({str(tmp_path / "short.mp4")!r}))
first = peak()
write_video({str(tmp_path / "long.mp4")!r}, pictures(3000), 50)
print(read({str(tmp_path / "long.mp4")!r}))
assert peak() < first + 40, (first, peak())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["(300, 599)", "(3000, 5999)"]


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("size", [(1, 1), (33, 48), (32, 47), (31, 45)])
def test_odd_sizes_are_padded(tmp_path, size):
    write_video(tmp_path / "clip.mp4", [picture(7, size)] * 3, fps=25)
    video = read_video(tmp_path / "clip.mp4")
    assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert [number_of(image) for image, _ in video] == [7, 7, 7]


def test_the_file_plays_everywhere(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 30000 / 1001) as writer:
        for k in range(4):
            writer.write(picture(k)[::-1, ::-1])  # no contiguous array
        assert not (tmp_path / "clip.mp4").exists()
    assert writer.num_frames == 4
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize("before", [None, b"the old file"])
@pytest.mark.parametrize("good", [0, 1, 40])
def test_a_failing_writer_leaves_nothing(tmp_path, good, before):
    path = tmp_path / "clip.mp4"
    if before:
        path.write_bytes(before)

    def pictures():
        yield from map(picture, range(good))
        raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        write_video(path, pictures(), fps=25)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == ([(path.name, before)] if before else [])


def test_frames_have_to_be_images_of_one_size(tmp_path):
    good = picture(0)
    for frames, message in (
        ([], "no frames to write"),
        ([good / 255], r"frame 0: expected uint8 RGB of shape \(H, W, 3\), got float64 .*astype"),
        ([good[..., 0]], r"frame 0: expected uint8 RGB.*got uint8 \(48, 64\)"),
        ([np.zeros((48, 64, 4), np.uint8)], "frame 0: expected uint8 RGB"),
        ([np.zeros((0, 64, 3), np.uint8)], "frame 0: expected uint8 RGB"),
        ([good, good, good[:40]], r"frame 2: expected the first frame's shape \(48, 64, 3\), got \(40, 64, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            write_video(tmp_path / "clip.mp4", frames, fps=25)
        assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"expected a file name that ends in \.mp4"):
        write_video(tmp_path / "clip.avi", [good], fps=25)


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "video.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    assert names["ids"].tolist() == [0]
    assert (names["video"].fps, names["video"].size, names["video"].num_frames) == (2, (120, 160), 4)
    assert (names["everyone"][3].time, names["everyone"][3].ids.tolist()) == (1.5, [])  # nobody in it
    assert read_video("slow.mp4").num_frames == 20
