"""MPII: the nested .mat with all its gaps, the json files, Tompson's split, neighbours, and what
broken files say.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader

from posezoo.data import MPII, PersonCrop, collate_others
from posezoo.metrics import mpii_head_size
from posezoo.skeletons import get_skeleton

scipy_io = pytest.importorskip("scipy.io")

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "published_predictions" / "mpii"
MPII16 = get_skeleton("mpii16")
MAT = "mpii_human_pose_v1_u12_1.mat"
EMPTY = np.zeros((0, 0))  # what MATLAB keeps in a field of a struct array that one element does not have


def struct(*elements: dict) -> np.ndarray:
    """A MATLAB struct array (1, N): where one element has a field, all have it."""
    fields = sorted({name for element in elements for name in element})
    array = np.empty((1, len(elements)), [(name, object) for name in fields])
    for at, element in enumerate(elements):
        array[0, at] = tuple(element.get(name, EMPTY) for name in fields)
    return array


def small(value: float) -> object:
    """As MATLAB stores it: whole numbers in the smallest unsigned type that holds them."""
    whole = float(value).is_integer() and value >= 0
    return np.min_scalar_type(int(value)).type(value) if whole else float(value)


def person(seed: int, *, without: tuple[str, ...] = (), joints: tuple[int, ...] = tuple(range(16))) -> dict:
    """Of one person, all that the files tell, counted from 1."""
    rng = np.random.default_rng(seed)
    keypoints = rng.integers(20, 300, (16, 2)).astype(float)
    keypoints[8:10] += (0.25, 0.5)  # the ends of the head are computed, not clicked
    truth = {
        "keypoints": keypoints,
        "joints": joints,
        "occluded": tuple(joint for joint in joints if joint not in (8, 9) and rng.random() < 0.3),
        "objpos": rng.integers(60, 250, 2),
        "scale": float(rng.uniform(0.5, 1.5)),
        "head": np.array([250, 200, 20, 10]) + rng.integers(0, 5, 4),  # x2 < x1: unsigned numbers would wrap
    }
    return {key: value for key, value in truth.items() if key not in without}


def annorect(truth: dict) -> dict:
    """One element of `annorect`, with the spellings of the real file."""
    element: dict = {}
    if "head" in truth:
        element |= {name: small(value) for name, value in zip(("x1", "y1", "x2", "y2"), truth["head"], strict=True)}
    if "keypoints" in truth:
        points = []
        for joint in reversed(truth["joints"]):  # in no particular order
            x, y = truth["keypoints"][joint]
            point = {"x": small(x), "y": small(y), "id": small(joint)}
            if joint not in (8, 9):
                seen = int(joint not in truth["occluded"])
                point["is_visible"] = str(seen) if joint % 3 == 0 else small(seen)
            points.append(point)
        element["annopoints"] = struct({"point": struct(*points)}) if points else EMPTY
    if "scale" in truth:
        element["scale"] = truth["scale"]
    if "objpos" in truth:
        element["objpos"] = struct(dict(zip("xy", map(small, truth["objpos"]), strict=True)))
    return element


def release(root: Path, photographs: list[tuple[str, list[dict], bool]]) -> Path:
    """An archive out of (file name, people, whether it is for training) of each photograph."""
    (root / "images").mkdir(parents=True)
    annolist = []
    for name, people, _ in photographs:
        rects = struct(*map(annorect, people)) if people else EMPTY
        annolist.append({"image": struct({"name": name}), "annorect": rects, "vididx": EMPTY})
        Image.new("RGB", (320, 310), (len(annolist) * 20, 0, 9)).save(root / "images" / name)
    for_training = np.array([[np.uint8(train) for *_, train in photographs]])
    contents = struct({"annolist": struct(*annolist), "img_train": for_training, "version": "12"})
    scipy_io.savemat(root / MAT, {"RELEASE": contents})
    return root


PEOPLE = [person(seed) for seed in range(5)]
HIDDEN = person(5, joints=(0, 2, 9, 12))
PHOTOGRAPHS = [
    ("a.jpg", [person(90, without=("keypoints",))], False),  # for test: a place, no keypoints
    ("b.jpg", [PEOPLE[0]], True),
    ("c.jpg", [person(91, without=("keypoints", "head")), PEOPLE[1], HIDDEN, person(92, joints=())], True),
    ("d.jpg", [], True),
    ("e.jpg", [person(93, without=("scale", "objpos")), PEOPLE[2]], True),
    ("f.jpg", [PEOPLE[3], PEOPLE[4]], True),
]
USABLE = [PEOPLE[0], PEOPLE[1], HIDDEN, PEOPLE[2], PEOPLE[3], PEOPLE[4]]
NAMES = ["b.jpg", "c.jpg", "c.jpg", "e.jpg", "f.jpg", "f.jpg"]
NUMBERS = [(2, 1), (3, 2), (3, 3), (5, 2), (6, 1), (6, 2)]  # photograph and person, from 1


@pytest.fixture
def root(tmp_path):
    return release(tmp_path / "mpii", PHOTOGRAPHS)


def detections(root: Path, *numbers: tuple[int, int], **variables: np.ndarray) -> Path:
    images, people = np.array(numbers).T
    index = {"RELEASE_img_index": images[None].astype(np.uint16), "RELEASE_person_index": people[None].astype(np.uint8)}
    scipy_io.savemat(root / "detections.mat", index | variables)
    return root / "detections.mat"


def record(truth: dict, name: str) -> dict:
    """A record of Simple Baselines' json; it does not know who is occluded."""
    annotated = [int(joint in truth["joints"]) for joint in range(16)]
    joints = np.where(np.array(annotated)[:, None], truth["keypoints"], 0).tolist()
    center = [float(value) for value in truth["objpos"]]
    return {"image": name, "scale": truth["scale"], "center": center, "joints": joints, "joints_vis": annotated}


def write_json(root: Path, records: object, name: str = "valid.json") -> Path:
    path = root / "annot" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(records if isinstance(records, str) else json.dumps(records))
    return path


# ---------------------------------------------------------------------------------------------------- the authors' file


def test_the_nested_file_is_read_and_counted_from_zero(root):
    people = MPII(root)
    assert people.names == NAMES
    for i, (sample, truth) in enumerate(zip(people, USABLE, strict=True)):
        annotated = torch.tensor([joint in truth["joints"] for joint in range(16)])
        assert torch.equal(sample["visible"], annotated)
        assert_close(sample["keypoints"][annotated], torch.tensor(truth["keypoints"] - 1).float()[annotated])
        assert sample["keypoints"][~annotated].abs().sum() == 0
        assert_close(sample["center"], torch.tensor(truth["objpos"] - 1.0).float())
        assert float(sample["scale"]) == pytest.approx(truth["scale"])
        assert_close((sample["box"][:2] + sample["box"][2:]) / 2, sample["center"])
        assert_close(sample["box"][2:] - sample["box"][:2], sample["scale"].expand(2) * 200)
        head = mpii_head_size(truth["head"][None].astype(float))
        assert_close(sample["head_size"], torch.tensor(head[0]).float())
        assert sample["index"] == i


def test_a_sample_has_the_documented_fields(root):
    people = MPII(root)
    sample = people[3]
    assert list(sample) == [
        "image", "keypoints", "visible", "box", "index", "center", "scale", "head_size",
    ]  # fmt: skip
    assert sample["image"].shape == (3, 310, 320)
    assert {key: value.dtype for key, value in sample.items() if key != "index"} == {
        "image": torch.uint8, "keypoints": torch.float32, "visible": torch.bool, "box": torch.float32,
        "center": torch.float32, "scale": torch.float32, "head_size": torch.float32,
    }  # fmt: skip
    assert (sample["image"][0].float().mean() - 100).abs() < 3  # the red of e.jpg
    assert MPII.skeleton is MPII16
    assert people[-1]["index"] == 5
    with pytest.raises(IndexError):
        people[6]
    batch = next(iter(DataLoader(people, batch_size=6)))
    assert (batch["box"].shape, batch["scale"].shape, batch["index"].tolist()) == ((6, 4), (6,), list(range(6)))


def test_occluded_joints_count_unless_masked(root):
    people = MPII(root, occluded="mask")
    assert any(truth["occluded"] for truth in USABLE)
    for sample, truth in zip(people, USABLE, strict=True):
        seen = [joint in truth["joints"] and joint not in truth["occluded"] for joint in range(16)]
        assert sample["visible"].tolist() == seen


def test_one_photograph_of_one_person_with_one_joint(tmp_path):
    """SciPy removes axes of length 1 wherever it finds them."""
    sample = MPII(release(tmp_path / "mpii", [("1.jpg", [person(1, joints=(9,))], True)]))[0]
    assert sample["visible"].nonzero().tolist() == [[9]]
    assert_close(sample["keypoints"][9], torch.tensor(person(1)["keypoints"][9] - 1).float())


def test_photographs_for_test_stay_out(tmp_path):
    root = release(tmp_path / "mpii", [("1.jpg", [person(1)], False), ("2.jpg", [person(2)], True)])
    assert MPII(root).names == ["2.jpg"]


def test_a_person_without_a_head_box_has_no_head_size(tmp_path):
    truths = [person(1, without=("head",)), person(2)]
    people = MPII(release(tmp_path / "mpii", [("1.jpg", truths, True)]))
    assert people.head_sizes.isnan().tolist() == [True, False]


# --------------------------------------------------------------------------------------------------------- whose centre


def test_the_centre_is_lowered_once_and_the_box_is_not_enlarged(root):
    plain, lowered = MPII(root), MPII(root, center="lowered")
    for one, two in zip(plain, lowered, strict=True):
        assert_close(two["center"] - one["center"], torch.stack([torch.zeros(()), 15 * one["scale"]]))
        assert_close(two["box"] - one["box"], (two["center"] - one["center"]).repeat(2), rtol=0, atol=1e-4)
        assert torch.equal(two["scale"], one["scale"])
        assert torch.equal(two["keypoints"], one["keypoints"])


def test_the_hourglass_crop_is_the_hourglass_authors(tmp_path):
    """First person of their files: 594, 257 and 3.021 in annot.h5, 594, 302 and 3.7763 in the
    adjusted train.h5.
    """
    first = person(0) | {"objpos": np.array([594, 257]), "scale": 3.02104}
    sample = MPII(release(tmp_path / "mpii", [("1.jpg", [first], True)]), center="lowered")[0]
    assert [int(value) for value in sample["center"] + 1] == [594, 302]
    matrix = PersonCrop(size=(256, 256), padding=1.25)(sample)["matrix"]
    assert 256 / float(matrix[0, 0]) / 200 == pytest.approx(3.7763, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "padding", "magnification"),
    [
        (256, 1.28, 1.0),  # Tompson: one pixel of the crop is `scale` pixels of the photograph
        (368, 1.84 * 35 / 41, 41 / 35),  # CPM: a person of scale 1 is magnified by 41/35
        (224, 0.875, 256 / 200),  # IEF: the person's height is 256 pixels, of which the middle 224 are shown
    ],
)
def test_the_other_papers_crops(root, size, padding, magnification):
    for sample in MPII(root):
        matrix = PersonCrop(size=(size, size), padding=padding)(sample)["matrix"]
        assert float(matrix[0, 0]) == pytest.approx(magnification / float(sample["scale"]), rel=1e-5)
        assert_close(matrix[:, :2] @ sample["center"] + matrix[:, 2], torch.tensor([size / 2, size / 2]))


# ----------------------------------------------------------------------------------------------------------- the splits


def test_tompsons_split(root):
    detections(root, (6, 2), (3, 3))  # the validation split is in the order of the file
    assert MPII(root, split="validation").names == ["f.jpg", "c.jpg"]
    assert_close(MPII(root, split="validation").scales, torch.tensor([PEOPLE[4]["scale"], HIDDEN["scale"]]))
    assert MPII(root, split="train").names == ["b.jpg", "e.jpg"]  # nobody from c.jpg and f.jpg
    rest = MPII(root, split="rest")
    assert rest.names == ["b.jpg", "c.jpg", "e.jpg", "f.jpg"]
    assert_close(rest.scales[1], torch.tensor(PEOPLE[1]["scale"]))
    assert [sample["index"] for sample in rest] == [0, 1, 2, 3]


def test_a_split_of_one_person(root, tmp_path):
    path = detections(tmp_path, (2, 1))
    assert MPII(root, split="validation", split_file=path).names == ["b.jpg"]
    assert len(MPII(root, split="train", split_file=path)) == 5


# ------------------------------------------------------------------------------------------------------- the neighbours


def test_others_are_all_annotated_people_of_the_photograph(root):
    detections(root, (3, 3))
    lonely, first, second, with_unusable, *_ = MPII(root, others=True)
    assert lonely["others"].shape == (0, 16, 2)
    assert lonely["others_visible"].shape == (0, 16)
    assert_close(first["others"][0], second["keypoints"])
    assert torch.equal(first["others_visible"][0], second["visible"])
    assert first["others"][0][~second["visible"]].abs().sum() == 0
    assert_close(second["others"][0], first["keypoints"])
    assert len(first["others"]) == 1  # the one without keypoints is no target
    assert_close(with_unusable["others"][0], torch.tensor(person(93)["keypoints"] - 1).float())  # has no scale
    (validation,) = MPII(root, split="validation", others=True)
    assert_close(validation["others"], second["others"])  # whoever is in which split
    masked = MPII(root, others=True, occluded="mask")
    assert torch.equal(masked[1]["others_visible"][0], masked[2]["visible"])


def test_others_collate_to_the_fullest_photograph(root):
    people = MPII(root, others=True)
    batch = next(iter(DataLoader(people, batch_size=6, collate_fn=collate_others)))
    assert batch["others"].shape == (6, 1, 16, 2)
    assert batch["others_visible"].any(dim=-1)[:, 0].tolist() == [False, True, True, True, True, True]
    assert batch["keypoints"].shape == (6, 16, 2)
    for at, sample in enumerate(people):
        assert_close(batch["others"][at, : len(sample["others"])], sample["others"])
    nobody = collate_others([people[0]])
    assert nobody["others"].shape == (1, 0, 16, 2)


# ------------------------------------------------------------------------------------------------------- the json files


def test_json_and_mat_are_the_same_people(root):
    write_json(root, [record(truth, name) for truth, name in zip(USABLE, NAMES, strict=True)])
    for center in ("annotated", "lowered"):
        from_json, from_mat = (MPII(root, file, center=center, others=True) for file in ("annot/valid.json", MAT))
        for one, two in zip(from_json, from_mat, strict=True):
            assert "head_size" not in one
            for key in one.keys() - {"others", "others_visible", "index"}:
                assert torch.equal(one[key], two[key]), key
    assert [len(sample["others"]) for sample in from_json] == [0, 1, 1, 0, 1, 1]  # only whom the file knows


def test_records_without_joints_have_nothing_visible(root):
    """test.json has no joints; trainval.json has people whose joints are all missing."""
    unknown = {key: value for key, value in record(PEOPLE[0], "b.jpg").items() if not key.startswith("joints")}
    missing = record(PEOPLE[1], "c.jpg") | {"joints": [[-1, -1]] * 16, "joints_vis": [-1] * 16}
    nowhere = missing | {"joints": [[float("nan")] * 2] * 16}
    write_json(root, [unknown, missing, nowhere], "test.json")
    for sample in MPII(root, "annot/test.json"):
        assert not sample["visible"].any()
        assert sample["keypoints"].abs().sum() == 0


def ground_truth(root: Path, *truths: dict) -> Path:
    """gt_valid.mat: (16, 2, N) positions and (2, 2, N) head boxes, in the order of valid.json."""
    path = root / "annot" / "gt_valid.mat"
    boxes = np.stack([truth["head"].reshape(2, 2).astype(float) for truth in truths], axis=-1)
    scipy_io.savemat(
        path, {"headboxes_src": boxes, "pos_gt_src": np.stack([truth["keypoints"] for truth in truths], axis=-1)}
    )
    return path


@pytest.mark.parametrize("count", [1, 6])
def test_head_sizes_of_the_json_files(root, count):
    write_json(root, [record(truth, name) for truth, name in zip(USABLE, NAMES, strict=True)][:count])
    ground_truth(root, *USABLE[:count])
    people = MPII(root, "annot/valid.json", head_boxes="annot/gt_valid.mat")
    assert_close(people.head_sizes, MPII(root).head_sizes[:count])
    assert_close(people[0]["head_size"], people.head_sizes[0])


def test_head_boxes_of_other_people_are_refused(root):
    write_json(root, [record(truth, name) for truth, name in zip(USABLE, NAMES, strict=True)])
    ground_truth(root, *USABLE[:3], *reversed(USABLE[3:]))
    with pytest.raises(ValueError, match=r"gt_valid.mat: the keypoints of record 3 .* are not those of the json file"):
        MPII(root, "annot/valid.json", head_boxes="annot/gt_valid.mat")
    ground_truth(root, *USABLE[:3])
    with pytest.raises(ValueError, match=r"gt_valid.mat has 3 head boxes for 6 people"):
        MPII(root, "annot/valid.json", head_boxes="annot/gt_valid.mat")
    with pytest.raises(ValueError, match=rf"{MAT} holds them already"):
        MPII(root, head_boxes="annot/gt_valid.mat")
    scipy_io.savemat(root / "annot" / "gt_valid.mat", {"preds": np.ones(3)})
    with pytest.raises(ValueError, match=r"gt_valid.mat: expected headboxes_src \(2, 2, N\)"):
        MPII(root, "annot/valid.json", head_boxes="annot/gt_valid.mat")


# ----------------------------------------------------------------------------------------------------------- by drawing


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("form", ["mat", "json"])
def test_dots_stay_under_their_keypoints(tmp_path, form, flip):
    """Dots drawn around what the file calls the left wrist, right wrist and head top, and looked
    for in the crop.
    """
    drawn = {"left_wrist": (140, 120), "right_wrist": (90, 150), "head_top": (110, 60)}  # pixels, from 0
    truth = person(3) | {"objpos": np.array([120, 130]), "scale": 1.0}
    y, x = np.mgrid[:260, :300]
    dots = []
    for name, (px, py) in drawn.items():
        truth["keypoints"][MPII16.index(name)] = px + 1, py + 1
        dots.append(255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 32))
    root = release(tmp_path / "mpii", [("1.png", [truth], True)])
    Image.fromarray(np.stack(dots, axis=-1).round().astype(np.uint8)).save(root / "images" / "1.png")
    write_json(root, [record(truth, "1.png")])
    sample = MPII(root, MAT if form == "mat" else "annot/valid.json")[0]
    crop = PersonCrop(size=(256, 256), padding=1.28, skeleton=MPII16, flip=flip)(sample)
    for picture, name in zip(crop["image"], drawn, strict=True):
        side, _, rest = name.partition("_")
        mirrored = {"left": "right_", "right": "left_"}.get(side, "head_") + rest
        at = crop["keypoints"][MPII16.index(mirrored if flip else name)]
        found = [float((picture.sum(axis) * torch.arange(256)).sum() / picture.sum()) for axis in (0, 1)]
        assert found == pytest.approx(at.tolist(), abs=0.05)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"center": "objpos"}, '"annotated" or "lowered", got \'objpos\''),
        ({"occluded": "drop"}, '"keep" or "mask", got \'drop\''),
        ({"split": "valid"}, '"train", "validation", "rest" or None, got \'valid\''),
        ({"annotations": "annot/valid.json", "split": "train"}, "valid.json is a split already; choose"),
        ({"annotations": "annot/valid.json", "occluded": "mask"}, "does not say who is occluded; the .mat file does"),
        ({"annotations": "annot/train.h5"}, "train.h5: expected MPII's .mat or a .json.*already lowered"),
    ],
)
def test_impossible_options_are_refused(root, options, message):
    with pytest.raises(ValueError, match=message):
        MPII(root, **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, MAT), ({"annotations": "annot/valid.json"}, "valid.json"), ({"split": "train"}, "detections.mat")],
)
def test_missing_files_are_named(root, options, name):
    if name == MAT:
        (root / MAT).unlink()
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is missing; (expected|MPII's validation split is)"):
        MPII(root, **options)


def test_missing_photographs_are_named_before_training_starts(root):
    for name in ("c.jpg", "f.jpg", "d.jpg"):  # nobody is annotated in d.jpg
        (root / "images" / name).unlink()
    with pytest.raises(ValueError, match=r"c.jpg is missing, like 2 of the 4 images of .*unpack all of"):
        MPII(root)
    detections(root, (3, 3), (6, 1))
    assert len(MPII(root, split="train")) == 2  # their photographs are there
    for path in (root / "images").iterdir():
        path.unlink()
    (root / "images").rmdir()
    with pytest.raises(ValueError, match=r"images is missing; it must hold the photographs"):
        MPII(root, split="train")


def test_damaged_photographs_are_named_when_they_are_read(root):
    (root / "images" / "c.jpg").write_bytes(b"no picture")
    people = MPII(root)
    people[0]
    with pytest.raises(ValueError, match=r"c.jpg cannot be read as an image .*download it again"):
        people[1]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_annotations(root, keep):
    whole = (root / MAT).read_bytes()
    (root / MAT).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=rf"{MAT} (cannot be read as a MATLAB file .*; download it again|is empty)"):
        MPII(root)


@pytest.mark.parametrize("contents", [{"joints": np.ones(3)}, {"RELEASE": struct({"annolist": struct({"image": 1})})}])
def test_another_mat_file(root, contents):
    scipy_io.savemat(root / MAT, contents)
    with pytest.raises(ValueError, match=rf"{MAT}: expected a struct RELEASE.*is it MPII's"):
        MPII(root)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (person(1) | {"scale": -1.0}, "scale -1.0, expected above 0"),
        (person(1) | {"keypoints": np.full((16, 2), np.nan)}, "a coordinate is not finite"),
    ],
)
def test_a_malformed_person_is_named(tmp_path, truth, reason):
    root = release(tmp_path / "mpii", [("1.jpg", [], True), ("2.jpg", [person(0), truth], True)])
    with pytest.raises(ValueError, match=rf"{MAT}: person 2 of image 2 .* is malformed \({reason}\); download"):
        MPII(root)


def test_an_unknown_joint_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("posezoo.data.mpii.NUM_KEYPOINTS", 15)
    root = release(tmp_path / "mpii", [("1.jpg", [person(0)], True)])
    with pytest.raises(ValueError, match=r"person 1 of image 1 .* is malformed \(joint id 15, expected 0 to 14\)"):
        MPII(root)


def test_a_file_of_test_people_only(tmp_path):
    root = release(tmp_path / "mpii", [PHOTOGRAPHS[0]])
    with pytest.raises(ValueError, match=rf"{MAT}: no person in it has keypoints"):
        MPII(root)


@pytest.mark.parametrize("number", [(3, 1), (1, 1), (9, 1), (5, 1)])
def test_a_split_of_people_without_annotation(root, number):
    detections(root, (2, 1), number)
    image, at = number
    with pytest.raises(ValueError, match=rf"detections.mat: entry 2 is person {at} of image {image}, who has no anno"):
        MPII(root, split="validation")


def test_a_split_file_of_something_else(root):
    scipy_io.savemat(root / "detections.mat", {"annolist": np.ones(3)})
    with pytest.raises(ValueError, match=r"detections.mat: expected RELEASE_img_index and RELEASE_person_index"):
        MPII(root, split="train")


def without(key: str) -> dict:
    return {name: value for name, value in record(PEOPLE[1], "c.jpg").items() if name != key}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (without("image"), r"record 1 \(from 0\) is malformed .*expected image, center"),
        (without("center"), r"record 1 \(from 0\) is malformed"),
        (without("scale") | {"scale": "tall"}, r"record 1 \(from 0\) is malformed"),
        (record(PEOPLE[1], "c.jpg") | {"joints": [[1, 2]] * 14}, r"record 1 \(from 0\) is malformed"),
        (record(PEOPLE[1], "c.jpg") | {"joints_vis": [1] * 14}, r"record 1 \(from 0\) is malformed"),
        (record(PEOPLE[1], "c.jpg") | {"joints": [[1, float("nan")]] * 16}, r"record 1 .* not finite; remove it"),
        (record(PEOPLE[1], "c.jpg") | {"center": [-1, -1], "scale": -1}, r"record 1 .* no box to crop; remove"),
        (["c.jpg"], r"record 1 \(from 0\) is malformed"),
    ],
)
def test_a_malformed_record_is_named(root, bad, message):
    write_json(root, [record(PEOPLE[0], "b.jpg"), bad])
    with pytest.raises(ValueError, match=rf"valid.json: {message}"):
        MPII(root, "annot/valid.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[{", "cannot be read as JSON"), ("", "is empty"), ('{"annotations": []}', "a list of records")],
)
def test_another_json_file(root, text, message):
    write_json(root, text)
    with pytest.raises(ValueError, match=rf"valid.json.*{message}"):
        MPII(root, "annot/valid.json")


def test_scipy_is_imported_only_when_needed(root, monkeypatch):
    write_json(root, [record(PEOPLE[0], "b.jpg")])
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert len(MPII(root, "annot/valid.json")) == 1
    with pytest.raises(ImportError, match=r"needs SciPy: pip install 'posezoo\[data\]'"):
        MPII(root)


# ------------------------------------------------------------------------------------------------------------- the real


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"MPII may not be redistributed; expected in {SHARED}")
def test_the_real_validation_people(tmp_path):
    """The 2,958 people of gt_valid.mat as records of a valid.json; photographs are not needed for
    this.
    """
    truth = scipy_io.loadmat(SHARED / "detections_our_format.mat")
    keypoints, annotated = truth["pos_gt_src"].transpose(2, 0, 1), 1 - truth["jnt_missing"].T.astype(int)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    records = [
        {"image": "1.jpg", "center": [100, 100], "scale": 1.0, "joints": joints.tolist(), "joints_vis": flags.tolist()}
        for joints, flags in zip(keypoints, annotated, strict=True)
    ]
    path = write_json(tmp_path, records)
    people = MPII(tmp_path, path, head_boxes=SHARED / "detections_our_format.mat")
    counts = [2115, 2485, 2889, 2888, 2478, 2119, 2878, 2932, 2932, 2932, 2928, 2935, 2944, 2944, 2932, 2909]
    assert people.visible.sum(dim=0).tolist() == counts  # of MPII's validation split
    heads = mpii_head_size(truth["headboxes_src"].transpose(2, 0, 1))
    assert_close(people.head_sizes, torch.tensor(heads).float())
    assert [round(float(size), 2) for size in people.head_sizes[:3]] == [117.96, 44.05, 78.48]
