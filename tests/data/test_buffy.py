"""Buffy Stickmen: generated files of the layout of its authors', and files that are damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from posezoo import metrics
from posezoo.data import Buffy
from posezoo.data.buffy import EPISODES, SKELETON
from posezoo.skeletons import get_skeleton

FRAMES = {2: (63, 829), 3: (4508,), 4: (7, 9, 11), 5: (120000,), 6: (1,)}


def person(seed: int) -> dict[str, np.ndarray]:
    """Keypoints counted from 1 of somebody who faces the camera: the right arm is on the left of
    the image.
    """
    rng = np.random.default_rng(seed)
    at = {
        "thorax": (60, 40), "pelvis": (62, 90), "upper_neck": (60, 35), "head_top": (58, 10),
        "right_shoulder": (45, 42), "right_elbow": (35, 60), "right_wrist": (50, 75),
        "left_shoulder": (75, 42), "left_elbow": (85, 60), "left_wrist": (95, 40),
    }  # fmt: skip
    return {name: np.array(point) + rng.uniform(-2, 2, 2) for name, point in at.items()}


def record(frame: int, *, gap: float = 1.0) -> str:
    """An entry of a file: the ends of every segment in random order, and the two of an elbow `gap`
    pixels apart.
    """
    at, rng = person(frame), np.random.default_rng(frame + 1)
    apart = np.array([gap / 2, 0])
    lines = [str(frame)]
    for first, second in (
        (at["thorax"], at["pelvis"]),
        (at["right_shoulder"], at["right_elbow"] + apart),
        (at["left_shoulder"], at["left_elbow"] + apart),
        (at["right_elbow"] - apart, at["right_wrist"]),
        (at["left_elbow"] - apart, at["left_wrist"]),
        (at["head_top"], at["upper_neck"]),
    ):
        ends = (first, second) if rng.random() < 0.5 else (second, first)
        lines.append(" " + " ".join(f"{number:.4f}" for end in ends for number in end) + " ")
    return "\n".join(lines) + "\n"


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    for episode, frames in FRAMES.items():
        (tmp_path / "data" / f"buffy_s5e{episode}_sticks.txt").write_text("".join(map(record, frames)))
        folder = tmp_path / "images" / f"buffy_s5e{episode}_original"
        folder.mkdir(parents=True)
        for frame in frames:
            Image.new("RGB", (120, 100), (40 * episode, 10, 200)).save(folder / f"{frame:06d}.jpg")
    return tmp_path


@pytest.mark.parametrize(("split", "episodes"), [(None, (2, 3, 4, 5, 6)), ("train", (3, 4)), ("test", (2, 5, 6))])
def test_splits_are_episodes(root, split, episodes):
    people = Buffy(root, split=split)
    expected = [(episode, frame) for episode in episodes for frame in FRAMES[episode]]
    assert [(sample["episode"], sample["frame"]) for sample in (people[i] for i in range(len(people)))] == expected
    assert [sample["index"] for sample in (people[0], people[-1])] == [0, len(people) - 1]
    for i, (episode, _) in enumerate(expected):
        assert (people[i]["image"][0].float().mean() - 40 * episode).abs() < 3
    with pytest.raises(IndexError):
        people[len(people)]


def test_ends_are_put_in_order_and_sides_are_the_persons_own(root):
    people = Buffy(root)
    for i in range(len(people)):
        sample = people[i]
        expected = np.stack([person(sample["frame"])[name] for name in SKELETON.keypoints]) - 1
        assert_close(sample["keypoints"], torch.from_numpy(expected).float(), rtol=0, atol=1e-3)
        torso = np.linalg.norm(expected[6] - expected[7])
        assert float(sample["torso"]) == pytest.approx(torso, abs=1e-3)


def test_a_sample_has_the_documented_fields(root):
    sample = Buffy(root)[2]
    assert sorted(sample) == ["box", "episode", "frame", "image", "index", "keypoints", "torso", "visible"]
    kinds = {key: value.dtype for key, value in sample.items() if isinstance(value, torch.Tensor)}
    assert kinds.pop("image") == torch.uint8
    assert kinds.pop("visible") == torch.bool
    assert set(kinds.values()) == {torch.float32}
    assert sample["visible"].all()
    assert_close(sample["box"], torch.cat([sample["keypoints"].amin(0), sample["keypoints"].amax(0)]))


def test_in_the_order_of_flic(root):
    people, ours = Buffy(root, skeleton="flic9"), Buffy(root)
    assert people.skeleton == get_skeleton("flic9")
    sample = people[1]
    assert sample["visible"].tolist() == [True] * 6 + [False] * 3  # no hips, no nose
    assert_close(sample["keypoints"][:6], ours[1]["keypoints"][:6])
    assert_close(sample["box"], ours[1]["box"])


def test_inputs_of_the_metrics(root):
    """PDJ by the torso's segment (DeepPose, Figure 7), and PCP of the six segments."""
    people = Buffy(root)
    target, torso = people.keypoints, people.torsos
    pred = target + torch.tensor([0.0, 1.0]) * torso[:, None, None] * 0.25
    assert metrics.pck(pred, target, torso, threshold=0.3).tolist() == [1.0] * 10
    assert metrics.pck(pred, target, torso, threshold=0.2).tolist() == [0.0] * 10
    limbs = metrics.pcp(target + 1, target, SKELETON)
    assert limbs.tolist() == [1.0] * 6
    assert {tuple(SKELETON.keypoints[end] for end in bone) for bone in SKELETON.bones} == {
        ("thorax", "pelvis"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"), ("upper_neck", "head_top"),
    }  # fmt: skip
    assert EPISODES["test"] == (2, 5, 6)


def test_folders_of_images_without_one_around_them(root):
    for folder in (root / "images").iterdir():
        folder.rename(root / folder.name)
    assert Buffy(root)[0]["image"].shape == (3, 100, 120)


def test_errors_name_the_file_the_record_and_the_fix(root):
    with pytest.raises(ValueError, match='split: expected "train", "test" or None, got \'val\''):
        Buffy(root, split="val")
    (root / "images" / "buffy_s5e4_original" / "000009.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"000009.jpg is missing, like 1 of 3 frames .*buffy_s5e4_sticks.txt.*unpack the whole archive"
    ):
        Buffy(root)
    assert len(Buffy(root, split="test")) == 4
    file = root / "data" / "buffy_s5e2_sticks.txt"
    for text, message in (
        (
            record(63) + record(829).rsplit(maxsplit=1)[0],
            r"record 2, frame 829, has 23 coordinates, expected 4 of each",
        ),
        (record(63).replace("63\n", "63.5\n", 1), r"record 1, frame 63.5, is malformed .*invalid literal"),
        (record(63) + "829 " + "x " * 24, r"record 2, frame 829, is malformed .*'x'"),
        (record(63) + "829 " + "nan " * 24, r"record 2, frame 829, has a coordinate that is no number"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            Buffy(root, split="test")
    for episode in EPISODES["test"]:
        (root / "data" / f"buffy_s5e{episode}_sticks.txt").write_text("")
    with pytest.raises(ValueError, match="files of annotations are empty"):
        Buffy(root, split="test")
    file.unlink()
    with pytest.raises(ValueError, match=r"buffy_s5e2_sticks.txt is missing; root must be the unpacked folder"):
        Buffy(root)
