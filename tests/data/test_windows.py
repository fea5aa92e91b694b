"""Windows: what lies in them, and that none reaches over the end of a video."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from posezoo.data import Windows
from posezoo.data.windows import valid_chunks


def video(index: int, count: int, **more) -> dict:
    """Every number of frame t of video i is 1000 i + t."""
    said = 1000.0 * index + torch.arange(count)
    return {
        "name": f"video {index}",
        "keypoints": said[:, None, None].expand(count, 17, 2).clone(),
        "pose3d": said[:, None, None].expand(count, 17, 3).clone(),
        **more,
    }


def said(window: dict) -> list:
    assert_close(window["pose3d"][..., 0, 0], window["keypoints"][..., 0, 0])
    return window["keypoints"][..., 0, 0].int().tolist()


def all_of(windows: Windows) -> list:
    return [said(windows[i]) for i in range(len(windows))]


COUNTS = (7, 3, 5)
VIDEOS = [video(index, count) for index, count in enumerate(COUNTS)]


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_windows_against_loops(length, stride):
    expected = [
        [1000 * index + t for t in range(start, start + length)]
        for index, count in enumerate(COUNTS)
        for start in range(0, count - length + 1, stride)
    ]
    assert all_of(Windows(VIDEOS, length=length, stride=stride)) == expected


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 3, 4, 9, 31])
def test_padded_windows_against_loops(length, stride, causal):
    windows = Windows(VIDEOS, length=length, stride=stride, pad="edge", causal=causal)
    before = length - 1 if causal else length // 2
    expected, frames = [], []
    for index, count in enumerate(COUNTS):
        for frame in range(0, count, stride):
            around = range(frame - before, frame - before + length)
            expected.append([1000 * index + min(max(t, 0), count - 1) for t in around])
            frames.append((index, frame))
    assert all_of(windows) == expected
    assert [
        (int(window["video"]), int(window["frame"])) for window in map(windows.__getitem__, range(len(windows)))
    ] == frames
    assert windows.lengths.tolist() == [length] * len(expected)
    for i, (index, frame) in enumerate(frames):  # the frame that a window is about is where it should be in it
        assert said(windows[i])[before] == 1000 * index + frame


def test_groups_hold_every_frame_once():  # RPSM's test clips
    windows = Windows(VIDEOS, length=3, stride=3, tail="keep")
    assert all_of(windows) == [[0, 1, 2], [3, 4, 5], [6], [1000, 1001, 1002], [2000, 2001, 2002], [2003, 2004]]
    assert windows.lengths.tolist() == [3, 3, 1, 3, 3, 2]


def test_random_starts_are_cut_at_the_end():  # RPSM's training clips
    windows = Windows(VIDEOS, length=3, tail="keep")
    assert len(windows) == sum(COUNTS)
    assert all_of(windows)[3:9] == [[3, 4, 5], [4, 5, 6], [5, 6], [6], [1000, 1001, 1002], [1001, 1002]]
    assert said(windows[[0, 1]]) == [[0, 1, 2], [1, 2, 3]]
    assert said(windows[[5, 8]]) == [[5, 6], [1001, 1002]]
    with pytest.raises(ValueError, match="do not fit in one batch"):
        windows[[0, 5]]


@pytest.mark.parametrize("options", [{"length": 3}, {"length": 5, "pad": "edge"}, {"length": 2, "stride": 3}])
def test_a_batch_is_its_windows(options):
    windows = Windows(VIDEOS, **options)
    chosen = [2, 0, len(windows) - 1, -1]
    batch = windows[chosen]
    assert batch["keypoints"].shape == (4, options["length"], 17, 2)
    for i, index in enumerate(chosen):
        for key, value in windows[index].items():
            assert_close(batch[key][i], value)
    assert_close(windows[torch.tensor(chosen)]["pose3d"], batch["pose3d"])
    with pytest.raises(IndexError):
        windows[len(windows)]
    with pytest.raises(IndexError):
        windows[[0, len(windows)]]


def test_loaders_of_both_kinds():
    windows = Windows(VIDEOS, length=3)
    plain = next(iter(DataLoader(windows, batch_size=4)))
    sampler = BatchSampler(range(len(windows)), 4, drop_last=False)
    gathered = next(iter(DataLoader(windows, batch_size=None, sampler=sampler)))
    assert {key: value.tolist() for key, value in plain.items()} == {key: v.tolist() for key, v in gathered.items()}

    def seen(seed: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        sampler = BatchSampler(RandomSampler(windows, generator=generator), 4, drop_last=False)
        return [said(batch) for batch in DataLoader(windows, batch_size=None, sampler=sampler)]

    assert seen(0) == seen(0)
    assert seen(0) != seen(1)
    assert sorted(frames for batch in seen(0) for frames in batch) == sorted(all_of(windows))


def test_images_and_visibility_come_along():
    videos = [
        video(i, count, frames=[Path(f"{i}/{t}.jpg") for t in range(count)], visible=torch.ones(count, 17).bool())
        for i, count in enumerate(COUNTS)
    ]
    windows = Windows(videos, length=3, pad="edge")
    assert [str(path) for path in windows[0]["frames"]] == ["0/0.jpg", "0/0.jpg", "0/1.jpg"]
    assert [[str(path) for path in some] for some in windows[[7, 14]]["frames"]] == [
        ["1/0.jpg", "1/0.jpg", "1/1.jpg"],
        ["2/3.jpg", "2/4.jpg", "2/4.jpg"],
    ]
    assert windows[3]["visible"].dtype == torch.bool
    assert windows.videos[1] == {"name": "video 1"}


def test_one_frame():
    assert all_of(Windows([video(0, 1)], length=1)) == [[0]]
    assert all_of(Windows([video(0, 1)], length=4, pad="edge")) == [[0, 0, 0, 0]]
    assert all_of(Windows([video(0, 1)], length=5, tail="keep")) == [[0]]


def test_unsuitable_videos_are_named():
    with pytest.raises(ValueError, match=r"video 1 \(video 1\) has 3 frames and the window 4: .*skip_short=True"):
        Windows(VIDEOS, length=4)
    assert {frames[0] // 1000 for frames in all_of(Windows(VIDEOS, length=4, skip_short=True))} == {0, 2}
    with pytest.raises(ValueError, match="no video is as long as a window of 20 frames; the longest has 7"):
        Windows(VIDEOS, length=20, skip_short=True)
    with pytest.raises(ValueError, match="there is none"):
        Windows([], length=1)
    with pytest.raises(ValueError, match=r"video 1 \(video 8\): expected frames"):
        Windows([video(7, 2), video(8, 0)], length=1)
    with pytest.raises(ValueError, match=r"expected frames, as many of each, got {'keypoints': 3, 'pose3d': 2}"):
        Windows([video(0, 3) | {"pose3d": torch.zeros(2, 17, 3)}], length=1)
    with pytest.raises(ValueError, match=r"video 1 .* has keypoints of .*, the first one keypoints, pose3d"):
        Windows([video(0, 3), {"name": "flat", "keypoints": torch.zeros(3, 17, 2)}], length=1)
    with pytest.raises(ValueError, match="has none of keypoints"):
        Windows([{"name": "nothing"}], length=1)
    gap = video(0, 5)
    gap["pose3d"][3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"video 0 \(video 0\): pose3d of frame 3 is not finite.*valid_chunks"):
        Windows([gap], length=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length: expected a whole number, 1 or more, got 0"),
        ({"length": 3, "stride": 0}, "stride: expected a whole number, 1 or more, got 0"),
        ({"length": 3, "pad": "zero"}, 'pad None or "edge"'),
        ({"length": 3, "tail": "cut"}, 'tail "drop" or "keep"'),
        ({"length": 3, "causal": True}, 'needs pad="edge"'),
        ({"length": 3, "pad": "edge", "tail": "keep"}, "already reach every frame"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Windows(VIDEOS, **options)


def test_valid_chunks():
    def of(marks: str) -> list:
        return valid_chunks(torch.tensor([mark == "x" for mark in marks]))

    assert of("xxx") == [(0, 3)]
    assert of("...") == of("") == []
    assert of(".xx..x.xxx") == [(1, 3), (5, 6), (7, 10)]
