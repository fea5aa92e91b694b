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
from posezoo.detectors import PersonDetector, load_detector
from posezoo.geometry import box_iou
from posezoo.lifting import predict_single_person
from posezoo.person_detector import STRIDE, WEIGHTS, PersonNetwork, cell_middles, load_network
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
    """Sees a red rectangle: certain in the cell of its middle, and its sides everywhere."""

    def forward(self, image):
        red = image[0, 0] - image[0, 1] > 0.4
        rows, columns = red.any(dim=1).nonzero()[:, 0], red.any(dim=0).nonzero()[:, 0]
        height, width = (length // STRIDE for length in image.shape[2:])
        logits = torch.full((1, 1, height, width), -9.0)
        middles = cell_middles(height, width).movedim(-1, 0)[None]
        low, high = torch.tensor([columns[0], rows[0]]), torch.tensor([columns[-1] + 1, rows[-1] + 1])
        x, y = ((low + high) / 2 / STRIDE).long().tolist()
        logits[0, 0, y, x] = 3
        # a second peak for the same person
        logits[0, 0, min(y + 2, height - 1), x] = 2
        return logits, torch.cat([middles - low.view(1, 2, 1, 1), high.view(1, 2, 1, 1) - middles], dim=1)


@pytest.fixture(scope="module")
def reader():
    return PersonDetector(Reader(width=8))


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
    assert len(PersonDetector(reader.model, overlap=1)([image])[0][1]) == 2
    assert [len(scores) for _, scores in reader([image, image])] == [1, 1]
    with pytest.raises(ValueError, match="side: expected a whole number"):
        PersonDetector(reader.model, side=0)
    with pytest.raises(ValueError, match="threshold"):
        PersonDetector(reader.model, threshold=float("nan"))


def test_a_folder_of_another_network_is_refused(tmp_path):
    folder = posezoo.create("martinez", linear_size=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected weights of a person_detector, got martinez"):
        load_network(folder)


# ------------------------------------------------------------------------------------------------ of the package


def test_the_weights_are_small_and_find_most_of_a_group():
    assert find(WEIGHTS).stat().st_size == WEIGHTS.size < 8e6
    assert load_detector("default").threshold == PersonDetector().threshold
    people = posezoo.predict(IMAGES / "group.jpg", detector="default")
    overlap = box_iou(torch.tensor(GROUP)[:, None], torch.from_numpy(people.boxes))
    assert (overlap.amax(dim=1) > 0.5).sum() >= 3  # the fourth sits behind the table, and has a low score
    prominence = people.box_scores * np.sqrt(np.prod(people.boxes[:, 2:] - people.boxes[:, :2], axis=1))
    assert (np.diff(prominence) <= 0).all()
    (man,) = posezoo.predict(IMAGES / "street.jpg", detector="default").boxes
    assert box_iou(torch.from_numpy(man), torch.tensor(MAN)).item() > 0.5


def test_where_nobody_is_found_there_is_one_person_as_without_a_detector():
    empty, photo = np.full((120, 160, 3), 90, np.uint8), IMAGES / "street.jpg"
    nobody, somebody = posezoo.predict([empty, photo], detector="default")
    alone = posezoo.predict(empty)
    assert nobody.box_scores is None
    assert somebody.box_scores is not None
    np.testing.assert_allclose(nobody.keypoints, alone.keypoints, atol=1e-3)


def test_a_group_of_which_one_is_predicted_is_warned_of(recwarn):
    group, man = IMAGES / "group.jpg", IMAGES / "street.jpg"
    dog = posezoo.create("simple_baseline_lite", skeleton=["left_paw", "right_paw"], num_keypoints=2)
    with pytest.warns(UserWarning, match=r"^[34] people seem to be in the image, and one is predicted; .*boxes"):
        assert len(posezoo.predict(group)) == 1
    for quiet in (
        lambda: posezoo.predict(man),
        lambda: posezoo.predict([group]),
        lambda: posezoo.predict(group, second_pass=False),
        lambda: posezoo.predict(group, boxes=GROUP[:1]),
        lambda: posezoo.predict(group, detector="default"),
        lambda: posezoo.predict(group, dog),
    ):
        recwarn.clear()
        quiet()
        assert not [warning for warning in recwarn if "people seem" in str(warning.message)]


def test_the_command_line_warns_of_a_group(capsys):
    assert "people seem to be in the image" in run(capsys, "predict", IMAGES / "group.jpg")[2]
    assert "people seem to be" not in run(capsys, "predict", IMAGES / "group.jpg", IMAGES / "street.jpg")[2]


def test_whole_images_need_no_detector(monkeypatch):
    monkeypatch.setattr("posezoo.prediction._cached_detector", None)  # calling it would fail
    photo = IMAGES / "street.jpg"
    assert posezoo.predict(photo, detector="default", second_pass=False).boxes.tolist() == [[0, 0, 640, 425]]
    whole = posezoo.create("hrnet_w32", width=2).eval()
    whole.region = "image"
    assert len(posezoo.predict(photo, whole, detector="default")) == 1
    with pytest.raises(ValueError, match="expected one of them"):
        posezoo.predict(photo, boxes=[MAN], detector="default")


def test_the_largest_person_is_followed_with_smooth_boxes():
    people = predict_single_person([IMAGES / "group.jpg"] * 2, detector="default")
    assert [len(person) for person in people] == [1, 1]
    left = (people[0].boxes[0] + people[0].boxes[0][[2, 3, 0, 1]])[0] / 2
    assert any(x1 < left < x2 for x1, _, x2, _ in (GROUP[1], GROUP[3]))  # the two in front
    assert predict_single_person([], detector="default") == []
