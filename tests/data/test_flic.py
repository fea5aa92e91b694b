"""FLIC: the columns of examples.mat, joint orders, people seen from behind, the torso's frame, and
broken archives.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader

from posezoo.data import FLIC, PersonCrop, collate_others
from posezoo.metrics import flic_pck
from posezoo.skeletons import get_skeleton

scipy_io = pytest.importorskip("scipy.io")

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "published_predictions" / "flic"
# examples.mat's columns
ALL = (
    *("lsho", "lelb", "lwri", "rsho", "relb", "rwri", "lhip", "lkne", "lank", "rhip", "rkne", "rank"),
    *("leye", "reye", "lear", "rear", "nose", "msho", "mhip", "mear", "mtorso"),
    *("mluarm", "mruarm", "mllarm", "mrlarm", "mluleg", "mruleg", "mllleg", "mrlleg"),
)
PARTS = {"sho": "shoulder", "elb": "elbow", "wri": "wrist", "hip": "hip", "eye": "eye"}
NAMES = {side + part: f"{word}_{PARTS[part]}" for side, word in (("l", "left"), ("r", "right")) for part in PARTS}
NAMES["nose"] = "nose"


def person(seed: int, *, behind: bool = False, picture: str | None = None, split: str = "train") -> dict:
    """The fields of one person in examples.mat, counted from 1; `behind`: sides the other way round."""
    rng = np.random.default_rng(seed)
    points = {name: rng.uniform(20, 180, 2) for name in NAMES}
    for part in ("sho", "hip", "eye", "elb", "wri"):
        pair = sorted((points["l" + part], points["r" + part]), key=lambda point: point[0], reverse=not behind)
        points["l" + part], points["r" + part] = pair
    return {
        "points": points,
        "torsobox": np.array([[50, 40, 130, 140]]) + rng.uniform(0, 9, (1, 4)),
        "filepath": picture or f"film-{seed:08d}.jpg",
        "istrain": np.uint8(split == "train"),
        "istest": np.uint8(split == "test"),
    }


def coords(points: dict) -> np.ndarray:
    """(2, 29) as in the file: what nobody annotated is not a number."""
    return np.array([points.get(name, (np.nan, np.nan)) for name in ALL]).T


def unpack(root: Path, people: list[dict], **changes: object) -> Path:
    (root / "images").mkdir(parents=True)
    fields = ("moviename", "coords", "filepath", "imgdims", "torsobox", "istrain", "istest")
    examples = np.empty((1, len(people)), [(name, object) for name in fields])
    for at, one in enumerate(people):
        row = {"moviename": "film", "imgdims": np.array([[200, 240, 3]], np.uint16), "coords": coords(one["points"])}
        row |= {name: one[name] for name in fields if name in one} | changes
        examples[0, at] = tuple(row[name] for name in fields)
    for name in {one["filepath"] for one in people}:
        Image.new("RGB", (240, 200), (20, 5, 9)).save(root / "images" / name)
    scipy_io.savemat(root / "examples.mat", {"examples": examples})
    return root


PEOPLE = [
    person(0),
    person(1, split="test"),
    person(2, behind=True, picture="two.jpg"),
    person(3, picture="two.jpg", split="test"),
    person(4, behind=True, split="test"),
]
BEHIND = [False, False, True, False, True]


@pytest.fixture
def root(tmp_path):
    return unpack(tmp_path / "FLIC", PEOPLE)


def expected(truth: dict, name: str, *, swapped: bool = False) -> torch.Tensor:
    short = next(short for short, long in NAMES.items() if long == name)
    if swapped:
        short = {"l": "r", "r": "l"}.get(short[0], short[0]) + short[1:]
    return torch.tensor(truth["points"][short] - 1).float()


# ------------------------------------------------------------------------------------------------------------ keypoints


@pytest.mark.parametrize("skeleton", ["flic11", "flic9"])
def test_columns_become_keypoints_counted_from_zero(root, skeleton):
    people = FLIC(root, skeleton=skeleton)
    assert people.skeleton is get_skeleton(skeleton)
    for sample, truth in zip(people, PEOPLE, strict=True):
        assert sample["visible"].all()
        for name, point in zip(people.skeleton.keypoints, sample["keypoints"], strict=True):
            assert_close(point, expected(truth, name))


def test_seven_keypoints_have_a_face(root):
    sample, truth = FLIC(root, skeleton="flic7")[0], PEOPLE[0]["points"]
    face = (truth["leye"] + truth["reye"] + truth["nose"]) / 3 - 1
    assert_close(sample["keypoints"][3], torch.tensor(face).float())
    order = ("left_wrist", "left_elbow", "left_shoulder", None, "right_shoulder", "right_elbow", "right_wrist")
    for name, point in zip(order, sample["keypoints"], strict=True):
        if name:
            assert_close(point, expected(PEOPLE[0], name))


def test_other_skeletons_have_flics_keypoints(root):
    sample = FLIC(root, skeleton="coco17")[0]
    coco = get_skeleton("coco17")
    assert {name for name, seen in zip(coco.keypoints, sample["visible"], strict=True) if seen} == set(NAMES.values())
    assert_close(sample["keypoints"][coco.index("left_wrist")], expected(PEOPLE[0], "left_wrist"))
    assert sample["keypoints"][~sample["visible"]].abs().sum() == 0


def test_a_point_that_is_not_annotated_is_not_visible(tmp_path):
    truth = person(0)
    truth["points"]["leye"] = np.array([np.nan, np.nan])
    root = unpack(tmp_path / "FLIC", [truth])
    sample = FLIC(root)[0]
    assert (~sample["visible"]).nonzero().tolist() == [[get_skeleton("flic11").index("left_eye")]]
    assert torch.isfinite(sample["keypoints"]).all()
    assert FLIC(root, skeleton="flic7")[0]["visible"].tolist() == [True] * 3 + [False] + [True] * 3  # no face


# ------------------------------------------------------------------------------------------------------------ the sides


@pytest.mark.parametrize("back_facing", [None, "shoulders", "hips"])
@pytest.mark.parametrize("skeleton", ["flic11", "flic9"])
def test_sides_of_people_seen_from_behind(root, back_facing, skeleton):
    people = FLIC(root, back_facing=back_facing, skeleton=skeleton)
    for sample, truth, behind in zip(people, PEOPLE, BEHIND, strict=True):
        for name, point in zip(people.skeleton.keypoints, sample["keypoints"], strict=True):
            assert_close(point, expected(truth, name, swapped=behind and back_facing is not None))


def test_shoulders_and_hips_are_separate_triggers(tmp_path):
    twisted = person(0)
    for part in ("sho", "hip"):
        twisted["points"]["l" + part][0], twisted["points"]["r" + part][0] = (90, 60) if part == "sho" else (60, 90)
    root = unpack(tmp_path / "FLIC", [twisted])
    plain, shoulders, hips = (FLIC(root, back_facing=by)[0]["keypoints"] for by in (None, "shoulders", "hips"))
    assert torch.equal(shoulders, plain)
    assert torch.equal(hips, plain[list(get_skeleton("flic11").flip_index)])


# ------------------------------------------------------------------------------------------------------------- a sample


def test_a_sample_has_the_documented_fields(root):
    people = FLIC(root)
    sample = people[3]
    assert list(sample) == ["image", "keypoints", "visible", "box", "index", "torso", "center", "scale"]
    assert sample["image"].shape == (3, 200, 240)
    assert {key: value.dtype for key, value in sample.items() if key != "index"} == {
        "image": torch.uint8, "keypoints": torch.float32, "visible": torch.bool, "box": torch.float32,
        "torso": torch.float32, "center": torch.float32, "scale": torch.float32,
    }  # fmt: skip
    assert people[-1]["index"] == 4
    with pytest.raises(IndexError):
        people[5]


def test_the_frame_of_the_torso(root):
    """Convolutional Pose Machines: centre (mean x, 0.7 top + 0.3 bottom), scale 0.0110 heights of
    the torso's box.
    """
    for sample, truth in zip(FLIC(root), PEOPLE, strict=True):
        left, top, right, bottom = truth["torsobox"][0] - 1
        assert sample["torso"].tolist() == pytest.approx([left, top, right, bottom], rel=1e-5)
        assert sample["center"].tolist() == pytest.approx([(left + right) / 2, 0.7 * top + 0.3 * bottom], rel=1e-5)
        assert float(sample["scale"]) == pytest.approx(0.0110 * (bottom - top), rel=1e-5)
        assert_close((sample["box"][:2] + sample["box"][2:]) / 2, sample["center"])
        assert_close(sample["box"][2:] - sample["box"][:2], 200 * sample["scale"].expand(2))
        matrix = PersonCrop(size=(368, 368), padding=1.84 * 35 / 41)(sample)["matrix"]
        assert float(matrix[0, 0]) == pytest.approx(41 / 35 / float(sample["scale"]), rel=1e-5)


def test_splits_are_those_of_the_file(root):
    train, test = FLIC(root, split="train"), FLIC(root, split="test")
    assert train.names == ["film-00000000.jpg", "two.jpg"]
    assert test.names == ["film-00000001.jpg", "two.jpg", "film-00000004.jpg"]
    assert [sample["index"] for sample in test] == [0, 1, 2]
    assert_close(test[1]["keypoints"][-1], expected(PEOPLE[3], "nose"))
    assert len(FLIC(root)) == 5


def test_others_are_the_other_examples_of_the_picture(root):
    train = FLIC(root, split="train", skeleton="flic9", back_facing="shoulders", others=True)
    test = FLIC(root, split="test", skeleton="flic9", back_facing="shoulders", others=True)
    assert train[0]["others"].shape == (0, 9, 2)
    assert_close(train[1]["others"], test[1]["keypoints"][None])
    assert_close(test[1]["others"], train[1]["keypoints"][None])  # seen from behind: with sides exchanged
    assert test[1]["others_visible"].all()
    batch = next(iter(DataLoader(train, batch_size=2, collate_fn=collate_others)))
    assert batch["others_visible"].any(dim=-1).tolist() == [[False], [True]]
    assert batch["torso"].shape == (2, 4)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_dots_stay_under_their_keypoints(tmp_path, flip):
    drawn = {"left_wrist": (140, 120), "right_wrist": (70, 130), "nose": (110, 60)}  # pixels, from 0
    truth = person(0)
    y, x = np.mgrid[:200, :240]
    dots = []
    for name, (px, py) in drawn.items():
        truth["points"][next(short for short, long in NAMES.items() if long == name)] = np.array([px + 1, py + 1])
        dots.append(255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 32))
    truth["filepath"] = "1.png"
    root = unpack(tmp_path / "FLIC", [truth])
    Image.fromarray(np.stack(dots, axis=-1).round().astype(np.uint8)).save(root / "images" / "1.png")
    for skeleton in map(get_skeleton, ("flic11", "flic9")):
        sample = FLIC(root, skeleton=skeleton)[0]
        crop = PersonCrop(size=(256, 256), skeleton=skeleton, flip=flip)(sample)
        for picture, name in zip(crop["image"], drawn, strict=True):
            mirrored = {"left_wrist": "right_wrist", "right_wrist": "left_wrist"}.get(name, name)
            at = crop["keypoints"][skeleton.index(mirrored if flip else name)]
            found = [float((picture.sum(axis) * torch.arange(256)).sum() / picture.sum()) for axis in (0, 1)]
            assert found == pytest.approx(at.tolist(), abs=0.05)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "validation"}, '"train", "test" or None, got \'validation\''),
        ({"back_facing": "eyes"}, '"shoulders", "hips" or None, got \'eyes\''),
        ({"skeleton": "flic10"}, "unknown skeleton 'flic10'"),
    ],
)
def test_impossible_options_are_refused(root, options, message):
    with pytest.raises(ValueError, match=message):
        FLIC(root, **options)


def test_missing_examples_name_the_file(tmp_path):
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / 'examples.mat'))} is missing; root must be"):
        FLIC(tmp_path)


def test_missing_pictures_are_named_before_training_starts(root):
    (root / "images" / "two.jpg").unlink()
    with pytest.raises(ValueError, match=r"two.jpg is missing, like 1 of the 4 images.*unpack the whole archive"):
        FLIC(root)


def test_damaged_pictures_are_named_when_they_are_read(root):
    (root / "images" / "two.jpg").write_bytes(b"no picture")
    people = FLIC(root)
    people[0]
    with pytest.raises(ValueError, match=r"two.jpg cannot be read as an image .*download it again"):
        people[2]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_examples(root, keep):
    whole = (root / "examples.mat").read_bytes()
    (root / "examples.mat").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(
        ValueError, match=r"examples.mat (cannot be read as a MATLAB file .*; download it again|is empty)"
    ):
        FLIC(root)


def test_another_mat_file(tmp_path):
    scipy_io.savemat(tmp_path / "examples.mat", {"joints": np.ones((2, 12, 3))})
    with pytest.raises(ValueError, match=r"examples.mat has no struct 'examples'"):
        FLIC(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coords": np.ones((2, 11))}, r"example 1 is malformed .*expected filepath, coords \(2, 29\)"),
        ({"torsobox": np.ones((1, 2))}, "example 1 is malformed"),
        (
            {"torsobox": np.array([[50, 40, 30, 140]])},
            r"example 1 has the torso box \[50.0, 40.0, 30.0, 140.0\], expect",
        ),
        ({"torsobox": np.full((1, 4), np.nan)}, "example 1 has the torso box"),
        ({"istrain": np.uint8(0), "istest": np.uint8(0)}, "none of its 1 examples is marked for train"),
    ],
)
def test_malformed_examples_are_named(tmp_path, changes, message):
    root = unpack(tmp_path / "FLIC", [person(0)], **changes)
    with pytest.raises(ValueError, match=rf"examples.mat: {message}"):
        FLIC(root, split="train")


# ------------------------------------------------------------------------------------------------------------- the real


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"FLIC may not be redistributed; expected in {SHARED}")
def test_the_real_test_people(tmp_path):
    """The 1,016 test people as examples.mat; a published row comes out of what the reader makes of
    them.
    """
    truth = scipy_io.loadmat(SHARED / "FLIC-joints-OC.mat")["joints"]  # (2, 12, 1016); last column: the torso's (w, h)
    columns = ["lsho", "lelb", "lwri", "rsho", "relb", "rwri", "lhip", "rhip", "leye", "reye", "nose"]
    people = []
    for values in truth.transpose(2, 1, 0):
        torso = np.concatenate([[100, 100], 100 + values[11]])[None]
        people.append(
            person(0, picture="1.jpg", split="test")
            | {"points": dict(zip(columns, values[:11], strict=True)), "torsobox": torso}
        )
    root = unpack(tmp_path / "FLIC", people)
    as_annotated = FLIC(root, split="test")
    assert len(as_annotated) == 1016
    exchanged = [FLIC(root, back_facing=by).keypoints != as_annotated.keypoints for by in ("shoulders", "hips")]
    assert [int(changed.any(-1).any(-1).sum()) for changed in exchanged] == [48, 48]  # CPM's preparation says 48
    predicted = scipy_io.loadmat(SHARED / "ChenYuilleNIPS14" / "pred_keypoints_flic_oc.mat")
    pred = next(value for name, value in predicted.items() if not name.startswith("__")).transpose(2, 1, 0) - 1
    torso = as_annotated.torsos[:, 2:] - as_annotated.torsos[:, :2]
    row = flic_pck(pred.astype(np.float32), as_annotated.keypoints.numpy(), torso_box=torso.numpy())
    assert [round(100 * row[joint], 1) for joint in ("Elbow", "Wrist")] == [89.8, 86.8]
