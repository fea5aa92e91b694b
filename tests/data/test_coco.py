"""COCO: whom Simple Baselines and HRNet take from the file and in which box, a detector's boxes,
and broken files.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader

from posezoo.data import COCO, PersonCrop
from posezoo.geometry import box_to_crop, transform_points
from posezoo.metrics import oks
from posezoo.skeletons import get_skeleton

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
COCO17 = get_skeleton("coco17")
WIDTH, HEIGHT = 160, 120
PHOTOGRAPHS = [(30, "000000000030.jpg"), (7, "COCO_val2014_000000000007.jpg"), (8, "empty.jpg")]


def annotation(identity: int, image: int, **changes: object) -> dict:
    """One person, with the first joint not labelled and the second one labelled but hidden."""
    rng = np.random.default_rng(identity)
    flags = [0, 1, *rng.choice([1, 2], 15).tolist()]
    points = rng.integers(10, 110, (17, 2)).tolist()
    triples = np.array([(*(point if flag else (0, 0)), flag) for point, flag in zip(points, flags, strict=True)])
    return {
        "id": identity, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 900.5, "num_keypoints": 16,
        "bbox": [10.5, 20.25, 60.0, 80.5], "keypoints": triples.ravel().tolist(), "segmentation": [[1, 2, 3, 4, 5, 6]],
    } | changes  # fmt: skip


PEOPLE = [annotation(101, 7), annotation(102, 30), annotation(103, 7)]


def write(root: Path, annotations: list | None, name: str = "person_keypoints_val2017.json", **changes: object) -> Path:
    """`val2017/` with its photographs and, beside it, the annotations."""
    (root / "val2017").mkdir(parents=True, exist_ok=True)
    images = []
    for identity, file_name in PHOTOGRAPHS:
        Image.new("RGB", (WIDTH, HEIGHT), (identity * 5, 0, 9)).save(root / "val2017" / file_name)
        images.append({"id": identity, "file_name": file_name, "width": WIDTH, "height": HEIGHT, "license": 1})
    file = {"info": {}, "licenses": [], "categories": [{"id": 1, "name": "person"}], "images": images}
    file |= {} if annotations is None else {"annotations": annotations}
    (root / name).write_text(json.dumps(file | changes))
    return root / name


def read(root: Path, annotations: list, **options: object) -> COCO:
    return COCO(root / "val2017", write(root, annotations), **options)


# ------------------------------------------------------------------------------------------------------------ annotated


def test_people_photograph_by_photograph(tmp_path):
    people = read(tmp_path, PEOPLE)
    assert people.image_ids == [30, 7, 7]  # in the order of the photographs, then of the annotations
    assert [sample["annotation_id"] for sample in people] == [102, 101, 103]
    for sample in people:
        triples = np.array(annotation(sample["annotation_id"], 0)["keypoints"]).reshape(17, 3)
        assert sample["visible"].tolist() == (triples[:, 2] > 0).tolist()  # hidden ones are labelled too
        seen = sample["visible"]
        assert_close(sample["keypoints"][seen], torch.tensor(triples[:, :2]).float()[seen])
        assert sample["keypoints"][~seen].abs().sum() == 0
        assert sample["image"].shape == (3, HEIGHT, WIDTH)
        assert abs(sample["image"][0].float().mean() - 5 * sample["image_id"]) < 3


def test_a_sample_has_the_documented_fields(tmp_path):
    people = read(tmp_path, PEOPLE)
    sample = people[2]
    assert list(sample) == [
        "image", "keypoints", "visible", "box", "index", "image_id", "annotation_id", "area",
    ]  # fmt: skip
    assert {key: value.dtype for key, value in sample.items() if isinstance(value, torch.Tensor)} == {
        "image": torch.uint8, "keypoints": torch.float32, "visible": torch.bool, "box": torch.float32,
        "area": torch.float32,
    }  # fmt: skip
    assert float(sample["area"]) == 900.5
    assert COCO.skeleton is COCO17
    assert people[-1]["index"] == sample["index"] == 2
    with pytest.raises(IndexError):
        people[3]
    batch = next(iter(DataLoader(people, batch_size=3)))
    assert batch["image_id"].tolist() == [30, 7, 7]


@pytest.mark.parametrize(
    ("bbox", "box"),
    [  # the arithmetic of Simple Baselines and HRNet, in a photograph of 160 x 120
        ([10.5, 20.25, 60.0, 80.5], [10.5, 20.25, 69.5, 99.75]),
        ([-5.0, -8.0, 46.0, 51.0], [0.0, 0.0, 45.0, 50.0]),  # the corner moves, the size stays
        ([100.0, 60.0, 100.0, 100.0], [100.0, 60.0, 159.0, 119.0]),
        ([0.0, 0.0, 160.0, 120.0], [0.0, 0.0, 159.0, 119.0]),
        ([20.0, 30.0, 0.5, 41.0], [20.0, 30.0, 21.0, 70.0]),  # at least a pixel, to have a crop
    ],
)
def test_boxes_are_cut_to_the_photograph(tmp_path, bbox, box):
    (sample,) = read(tmp_path, [annotation(1, 7, bbox=bbox)])
    assert sample["box"].tolist() == box


def test_the_crop_of_the_papers(tmp_path):
    """(140, 150) and (0.9375, 1.25) for a box of 80 x 200 at 256 x 192; here one pixel larger,
    which the cut takes.
    """
    person = annotation(1, 7, bbox=[100, 50, 81, 201])
    path = write(tmp_path, [person], images=[{"id": 7, "file_name": PHOTOGRAPHS[1][1], "width": 640, "height": 480}])
    Image.new("RGB", (640, 480)).save(tmp_path / "val2017" / PHOTOGRAPHS[1][1])
    center, extent = box_to_crop(COCO(tmp_path / "val2017", path)[0]["box"][None], (256, 192))
    assert center.tolist() == [[140, 150]]
    assert (extent / 200).tolist() == [[0.9375, 1.25]]


@pytest.mark.parametrize(
    "left_out",
    [
        {"iscrowd": 1},
        {"keypoints": [0] * 51, "num_keypoints": 0},
        {"area": 0},
        {"bbox": [170.0, 20.0, 40.0, 40.0]},  # outside the photograph
        {"bbox": [20.0, 130.0, 40.0, 40.0]},
        {"category_id": 18},
        {"iscrowd": 1, "keypoints": [0] * 51, "segmentation": {"counts": [1, 2], "size": [120, 160]}},
    ],
)
def test_people_that_are_left_out(tmp_path, left_out):
    people = read(tmp_path, [PEOPLE[0], annotation(104, 7, **left_out), PEOPLE[2]])
    assert people.annotation_ids == [101, 103]


def test_predictions_on_the_annotations_score_one(tmp_path):
    people = read(tmp_path, PEOPLE)
    keypoints, visible = people.keypoints.numpy(), people.visible.numpy()
    assert oks(keypoints, keypoints, people.areas.numpy(), "coco17", visible=visible).tolist() == [1, 1, 1]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_dots_stay_under_their_keypoints(tmp_path, flip):
    drawn = {"left_wrist": (110, 60), "right_wrist": (50, 80), "nose": (80, 40)}
    person = annotation(1, 7, bbox=[20, 10, 120, 100])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dots = []
    for name, (px, py) in drawn.items():
        at = 3 * COCO17.index(name)
        person["keypoints"][at : at + 3] = px, py, 2
        dots.append(255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 32))
    path = write(tmp_path, [person])
    picture = Image.fromarray(np.stack(dots, axis=-1).round().astype(np.uint8))
    picture.save(tmp_path / "val2017" / PHOTOGRAPHS[1][1], format="png")  # without loss, whatever it is called
    crop = PersonCrop(size=(256, 192), skeleton=COCO17, flip=flip)(COCO(tmp_path / "val2017", path)[0])
    for channel, name in zip(crop["image"], drawn, strict=True):
        mirrored = {"left_wrist": "right_wrist", "right_wrist": "left_wrist"}.get(name, name)
        at = crop["keypoints"][COCO17.index(mirrored if flip else name)]
        mass = channel.sum()
        found = [float((channel.sum(axis) * torch.arange(float(n))).sum() / mass) for axis, n in ((0, 192), (1, 256))]
        assert found == pytest.approx(at.tolist(), abs=0.05)


# ------------------------------------------------------------------------------------------------------------- detected

DETECTIONS = [
    {"image_id": 7, "bbox": [-3.5, 20.0, 60.0, 130.0], "score": 0.9, "category_id": 1},
    {"image_id": 30, "bbox": [40.0, 50.0, 20.0, 30.0], "score": 0.05, "category_id": 1},
    {"image_id": 7, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.8, "category_id": 3},  # no person
    {"image_id": 8, "bbox": [1.0, 2.0, 0.0, 4.0], "score": 0.0},
]


def detect(root: Path, detections: object, annotations: list | None = None, **options: object) -> COCO:
    (root / "detections.json").write_text(detections if isinstance(detections, str) else json.dumps(detections))
    path = write(root, annotations, "image_info_test-dev2017.json")
    return COCO(root / "val2017", path, detections=root / "detections.json", **options)


@pytest.mark.parametrize("annotations", [None, PEOPLE])
def test_a_detectors_boxes_are_taken_as_they_are(tmp_path, annotations):
    people = detect(tmp_path, DETECTIONS, annotations)
    assert [sample["image_id"] for sample in people] == [7, 30, 8]
    assert people.boxes.tolist() == [[-3.5, 20.0, 56.5, 150.0], [40.0, 50.0, 60.0, 80.0], [1.0, 2.0, 2.0, 6.0]]
    sample = people[0]
    assert list(sample) == ["image", "keypoints", "visible", "box", "index", "image_id", "score"]
    assert float(sample["score"]) == pytest.approx(0.9)
    assert sample["keypoints"].shape == (17, 2)
    assert not sample["visible"].any()
    out = PersonCrop(size=(256, 192))(sample)
    assert_close(transform_points(torch.tensor([[26.5, 85.0]]), out["matrix"]), torch.tensor([[96.0, 128.0]]))


def test_weak_detections_are_left_out_on_request(tmp_path):
    assert detect(tmp_path, DETECTIONS, min_score=0.05).image_ids == [7, 30]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"image_id": 99}, r"detection 1 \(from 0\) is in image 99, which image_info_test-dev2017.json does not list"),
        ({"bbox": [1, 2, 3]}, r"detection 1 \(from 0\) is malformed .*expected image_id, bbox"),
        (
            {"bbox": [1, 2, -3, 4]},
            r"detection 1 \(from 0\) has bbox \[1.0, 2.0, -3.0, 4.0\] and score 0.05; .*remove it",
        ),
        ({"bbox": [1, 2, float("nan"), 4]}, r"detection 1 \(from 0\) has bbox"),
        ({"score": None}, r"detection 1 \(from 0\) is malformed"),
    ],
)
def test_malformed_detections_are_named(tmp_path, bad, message):
    with pytest.raises(ValueError, match=f"detections.json: {message}"):
        detect(tmp_path, [DETECTIONS[0], DETECTIONS[1] | bad])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "detections.json cannot be read as JSON"), ('{"images": []}', "detections.json: expected a list of detect")],
)
def test_another_file_of_detections(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        detect(tmp_path, text)


def test_no_detection_is_left(tmp_path):
    with pytest.raises(ValueError, match=r"detections.json: expected people to crop, found none"):
        detect(tmp_path, DETECTIONS, min_score=0.95)


# --------------------------------------------------------------------------------------------------------------- errors


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"people.json is missing; expected person_keypoints_\*.json"):
        COCO(tmp_path, tmp_path / "people.json")
    path = write(tmp_path, PEOPLE)
    with pytest.raises(ValueError, match=r"detections.json is missing; expected a json list"):
        COCO(tmp_path / "val2017", path, detections=tmp_path / "detections.json")
    with pytest.raises(ValueError, match=r"train2017 is missing; it must hold the photographs"):
        COCO(tmp_path / "train2017", path)


def test_missing_photographs_are_named_before_training_starts(tmp_path):
    path = write(tmp_path, PEOPLE)
    (tmp_path / "val2017" / "empty.jpg").unlink()  # nobody in it
    assert len(COCO(tmp_path / "val2017", path)) == 3
    (tmp_path / "val2017" / PHOTOGRAPHS[1][1]).unlink()
    with pytest.raises(ValueError, match=r"000007.jpg is missing, like 1 of the 2 images of person_keypoints"):
        COCO(tmp_path / "val2017", path)


def test_damaged_photographs_are_named_when_they_are_read(tmp_path):
    people = read(tmp_path, PEOPLE)
    (tmp_path / "val2017" / PHOTOGRAPHS[1][1]).write_bytes(b"no picture")
    people[0]
    with pytest.raises(ValueError, match=r"000007.jpg cannot be read as an image .*download it again"):
        people[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "cannot be read as JSON"),
        ("[]", "expected images with id, file_name, width and height"),
        ('{"annotations": []}', "expected images with id"),
        ('{"images": [{"id": 3, "file_name": "3.jpg"}], "annotations": []}', "expected images with id"),
    ],
)
def test_another_json_file(tmp_path, text, message):
    (tmp_path / "people.json").write_text(text)
    with pytest.raises(ValueError, match=rf"people.json.*{message}"):
        COCO(tmp_path, tmp_path / "people.json")


def test_files_without_people(tmp_path):
    with pytest.raises(ValueError, match=r"val2017.json has no annotations; give detections="):
        COCO(tmp_path / "val2017", write(tmp_path, None))
    with pytest.raises(ValueError, match=r"val2017.json: expected people to crop, found none"):
        read(tmp_path, [annotation(1, 7, iscrowd=1)])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"keypoints": [1, 2, 2] * 14}, "is malformed .*; download the file again"),
        ({"keypoints": None}, "is malformed"),
        ({"bbox": [1, 2, 3]}, "is malformed"),
        ({"image_id": 99}, r"is malformed \(KeyError\(99\)\)"),
        ({"area": "large"}, "is malformed"),
        ({"bbox": [1, 2, float("inf"), 4]}, "has a number that is not finite; remove it"),
        ({"keypoints": [1, float("nan"), 2] * 17}, "has a number that is not finite"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, bad, message):
    with pytest.raises(ValueError, match=rf"val2017.json: annotation 1 \(from 0.*{message}"):
        read(tmp_path, [PEOPLE[0], annotation(104, 7, **bad)])


# ------------------------------------------------------------------------------------------------------------- the real


@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason=f"photographs of COCO; expected in {SHARED / 'photos'}")
def test_real_photographs():
    people = COCO(SHARED / "photos" / "images", SHARED / "photos" / "person_keypoints.json")
    assert len(people) == 22  # HRNet's reader, run on this file, takes the same people, boxes and keypoints
    assert int(people.visible.sum()) == 257  # 96 + 49 + 16 + 57 + 12 + 19 + 8: photos/ATTRIBUTION.md
    assert people.image_ids[:3] == [129648] * 3
    for sample in people:
        height, width = sample["image"].shape[1:]
        x, y = sample["keypoints"][sample["visible"]].unbind(-1)
        assert (x.min() >= 0) & (y.min() >= 0) & (x.max() < width) & (y.max() < height)
    low, high = people.boxes[:, None, :2] - 5, people.boxes[:, None, 2:] + 5  # labelled joints: in the box or nearly so
    inside = ((people.keypoints > low) & (people.keypoints < high)).all(dim=-1)
    assert inside[people.visible].float().mean() > 0.95


@pytest.mark.skipif(not (SHARED / "coco_examples").is_dir(), reason=f"expected in {SHARED / 'coco_examples'}")
def test_real_annotations_and_detections(tmp_path):
    """Without the photographs, which this does not look at. HRNet's reader takes 12 and 11 people,
    and all boxes.
    """
    examples = SHARED / "coco_examples"
    for name, count in (("example_coco_val.json", 12), ("fce_gt_dataset.json", 11)):
        for image in json.loads((examples / name).read_text())["images"]:
            (tmp_path / image["file_name"]).touch()
        people = COCO(tmp_path, examples / name)
        assert len(people) == count
    detected = COCO(tmp_path, examples / "fce_gt_dataset.json", detections=examples / "fce_dt_dataset.json")
    assert len(detected) == 128
    assert_close(detected.boxes[0], torch.tensor([0.0, 148.307, 207.826, 148.307 + 240.512]))
