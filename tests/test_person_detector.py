"""posezoo's own detector: from its maps to boxes in the image, its weights, and its place in
`predict`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from torch.testing import assert_close

import posezoo
from posezoo.commands import DETECTOR
from posezoo.detectors import DEFAULT, PersonDetector, load_detector, prominence
from posezoo.geometry import box_iou
from posezoo.images import load_image
from posezoo.lifting import predict_single_person
from posezoo.person_detector import STRIDES, WEIGHTS, PersonNetwork, cells, load_network
from posezoo.weights import find

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# COCO's boxes of images 790 and 234748
GROUP = [
    [211.7, 78.1, 309.3, 198.8],
    [7.6, 110.8, 201.8, 378.0],
    [329.8, 100.2, 474.5, 281.2],
    [433.4, 134.0, 629.2, 422.0],
]
MAN = [273.15, 129.99, 417.36, 384.04]


class Reader(PersonNetwork):
    """Sees a red rectangle: certain in one cell of each stride, less in the next; its box everywhere."""

    def forward(self, image):
        red = image[0, 0] - image[0, 1] > 0.4
        rows, columns = red.any(dim=1).nonzero()[:, 0], red.any(dim=0).nonzero()[:, 0]
        box = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        middles, strides = cells(*image.shape[2:])
        scores = torch.full((1, len(middles)), -9.0)
        for stride in STRIDES:
            mine = (strides == stride).nonzero()[:, 0]
            nearest = (middles[mine] - (box[:2] + box[2:]) / 2).norm(dim=1).argsort()[:2]
            scores[0, mine[nearest]] = torch.tensor([3.0, 2])
        # a smaller box at the second cells, for the same person
        shrunk = (scores[0] == 2)[:, None] * torch.tensor([1.0, 1, -1, -1]) * (box[2:] - box[:2]).repeat(2) / 20
        return scores, (box + shrunk)[None]


@pytest.fixture(scope="module")
def reader():
    return PersonDetector(Reader(width=4, neck=8))


@pytest.mark.parametrize(("height", "width", "box"), [
    (300, 640, [40, 60, 200, 260]), (640, 300, [10, 300, 290, 640]), (50, 37, [4, 9, 30, 41]),
])  # fmt: skip
def test_boxes_are_in_pixels_of_the_image(reader, height, width, box):
    image = torch.full((3, height, width), 0.3)
    x1, y1, x2, y2 = box
    image[0, y1:y2, x1:x2] = 1
    [(boxes, scores)] = reader([image])
    assert_close(scores, torch.tensor([3.0]).sigmoid())
    assert (boxes[0] - torch.tensor(box)).abs().max() <= max(height, width) / reader.side  # a pixel of its input


def test_the_threshold_the_side_and_the_overlap_count(reader):
    image = torch.full((3, 100, 100), 0.3)
    image[0, 20:80, 30:60] = 1
    assert len(PersonDetector(reader.model, threshold=0.96)([image])[0][1]) == 0
    assert len(PersonDetector(reader.model, overlap=0.9)([image])[0][1]) == 2
    assert [len(scores) for _, scores in reader([image, image])] == [1, 1]
    with pytest.raises(ValueError, match="side: expected a whole number"):
        PersonDetector(reader.model, side=0)
    with pytest.raises(ValueError, match="threshold"):
        PersonDetector(reader.model, threshold=float("nan"))


def test_a_folder_of_another_network_is_refused(tmp_path):
    folder = posezoo.create("martinez", linear_size=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected weights of a person_detector, got martinez"):
        load_network(folder)


def test_cells_are_those_of_the_heads():
    network = PersonNetwork(width=4, neck=8, rank=0.5).eval()
    image = torch.rand(2, 3, 64, 96)
    scores, boxes = network(image)
    middles, strides = cells(64, 96)
    assert scores.shape == (2, len(middles)) == boxes.shape[:2]
    assert torch.bincount(strides.long())[list(STRIDES)].tolist() == [8 * 12, 4 * 6, 2 * 3]
    # the sides are up to ten cells away
    assert ((boxes[..., :2] <= middles) & (boxes[..., 2:] >= middles)).all()
    assert ((boxes[..., 2:] - boxes[..., :2]) <= 20 * strides[:, None]).all()
    found, values = network.decode(scores, boxes)[0]
    assert_close(found[0], boxes[0, scores[0].argmax()])
    assert (values.diff() <= 0).all()
    alone = network(image[1:])
    assert_close(alone[0][0], scores[1], atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ of the package


def test_the_weights_are_small_and_find_everybody_in_a_group():
    assert find(WEIGHTS).stat().st_size == WEIGHTS.size < 8e6
    assert load_detector("default").threshold == PersonDetector().threshold
    people = posezoo.predict(IMAGES / "group.jpg")
    overlap = box_iou(torch.tensor(GROUP)[:, None], torch.from_numpy(people.boxes))
    assert (overlap.amax(dim=1) > 0.5).all()
    assert len(people) == len(GROUP)
    boxes, scores = torch.from_numpy(people.boxes), torch.from_numpy(people.box_scores)
    assert (prominence(boxes, scores, *people.image_size).diff() <= 0).all()
    (man,) = posezoo.predict(IMAGES / "street.jpg").boxes
    assert box_iou(torch.from_numpy(man), torch.tensor(MAN)).item() > 0.7


def test_where_nobody_is_found_there_is_one_person_in_two_passes():
    empty, photo = np.full((120, 160, 3), 90, np.uint8), IMAGES / "street.jpg"
    nobody, somebody = posezoo.predict([empty, photo])
    alone = posezoo.predict(empty, detector=None)
    assert nobody.box_scores is None
    assert somebody.box_scores is not None
    np.testing.assert_allclose(nobody.keypoints, alone.keypoints, atol=1e-3)
    assert len(posezoo.predict(IMAGES / "group.jpg", detector=None)) == 1


def test_a_frame_without_people_has_nobody_to_track():
    photo = load_image(IMAGES / "street.jpg")
    people = posezoo.predict([photo, torch.zeros_like(photo), photo], track=True)
    assert [len(frame) for frame in people] == [1, 0, 1]
    assert people[0].ids.tolist() == people[2].ids.tolist()


def test_the_detector_is_for_images_of_people_without_boxes(monkeypatch):
    monkeypatch.setattr("posezoo.prediction._cached_detector", None)  # calling it would fail
    photo = IMAGES / "street.jpg"
    assert posezoo.predict(photo, second_pass=False).boxes.tolist() == [[0, 0, 640, 425]]
    whole = posezoo.create("hrnet_w32", width=2).eval()
    whole.region = "image"
    dog = posezoo.create("simple_baseline_lite", skeleton=["left_paw", "right_paw"], num_keypoints=2)
    assert len(posezoo.predict(photo, whole)) == len(posezoo.predict(photo, dog)) == 1
    assert posezoo.predict(photo, boxes=[MAN], detector="default").box_scores is None
    with pytest.raises(ValueError, match="expected one of them"):
        posezoo.predict(photo, boxes=[MAN], detector=lambda images: [])


def test_the_command_line_finds_a_group_and_none_is_one_person(capsys):
    assert DETECTOR == DEFAULT
    assert f"{len(GROUP)} boxes" in run(capsys, "predict", IMAGES / "group.jpg")[1]
    assert "1 box," in run(capsys, "predict", IMAGES / "group.jpg", "--detector", "none")[1]
    assert "1 box," in run(capsys, "predict", IMAGES / "group.jpg", "--box", "7", "110", "201", "378")[1]


def test_the_largest_person_is_followed_with_smooth_boxes():
    people = predict_single_person([IMAGES / "group.jpg"] * 2)
    assert [len(person) for person in people] == [1, 1]
    left = (people[0].boxes[0] + people[0].boxes[0][[2, 3, 0, 1]])[0] / 2
    assert any(x1 < left < x2 for x1, _, x2, _ in (GROUP[1], GROUP[3]))  # the two in front
    assert predict_single_person([]) == []
    (one,) = predict_single_person([IMAGES / "group.jpg"], box=GROUP[0])
    assert box_iou(torch.from_numpy(one.boxes[0]), torch.tensor(GROUP[0])).item() > 0.3


def test_a_tiny_person_in_the_corner_of_a_tiny_image(monkeypatch):
    def corner(images):
        return [(torch.tensor([[0.0, 0, 1.9, 1.8]]), torch.tensor([0.5])) for _ in images]

    monkeypatch.setattr("posezoo.prediction._cached_detector", lambda name, device: corner)
    image = np.zeros((40, 40, 3), np.uint8)
    people = posezoo.predict(image)
    assert_close(people.boxes, np.array([[0.0, 0, 1.9, 1.8]], np.float32))
    with pytest.raises(ValueError, match="fractions"):  # of another detector it may be a mistake
        posezoo.predict(image, detector=corner)
