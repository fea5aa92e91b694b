"""posezoo's own detector: from its maps to boxes in the image, and its place in `predict`."""

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.detectors import PersonDetector
from posezoo.person_detector import STRIDE, PersonNetwork, cell_middles, load_network


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
    with pytest.raises(ValueError, match="side: expected a positive number"):
        PersonDetector(reader.model, side=0)
    with pytest.raises(ValueError, match="threshold"):
        PersonDetector(reader.model, threshold=float("nan"))


def test_a_folder_of_another_network_is_refused(tmp_path):
    folder = posezoo.create("martinez", linear_size=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected weights of a person_detector, got martinez"):
        load_network(folder)
