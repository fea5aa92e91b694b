"""The constant between a detected face and the box of a person."""

import pytest
import torch

from posezoo.data import PersonCrop
from posezoo.data.detector_boxes import fit_padding


def people(count: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Faces of different sizes and shapes, and keypoints below and beside them."""
    random = torch.Generator().manual_seed(0)
    low = 100 + 100 * torch.rand(count, 2, generator=random)
    size = 20 + 30 * torch.rand(count, 2, generator=random)
    keypoints = low[:, None] + size[:, None] * (torch.rand(count, 9, 2, generator=random) * 6 - 2)
    return torch.cat([low, low + size], dim=1), keypoints, torch.rand(count, 9, generator=random) < 0.8


def inside(boxes, keypoints, visible, padding):
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * padding
    hit = ((keypoints - center[:, None]).abs() <= half[:, None] + 1e-4).all(dim=-1)
    return (hit | ~visible).all(dim=1)


def test_the_smallest_factor_that_contains_everything():
    boxes, keypoints, visible = people()
    padding = fit_padding(boxes, keypoints, visible)
    assert inside(boxes, keypoints, visible, padding).all()
    assert not inside(boxes, keypoints, visible, padding * 0.999).all()
    smaller = fit_padding(boxes, keypoints, visible, coverage=0.9)
    assert smaller < padding
    assert int(inside(boxes, keypoints, visible, smaller).sum()) == 36
    lost = boxes.clone()
    lost[3] = torch.nan  # no face was found
    wild = keypoints.clone()
    wild[3] = 1e6
    assert fit_padding(lost, wild, visible) == pytest.approx(
        fit_padding(boxes[torch.arange(40) != 3], keypoints[torch.arange(40) != 3], visible[torch.arange(40) != 3])
    )


def test_it_is_the_padding_of_a_crop():
    boxes, keypoints, visible = people(6)
    crop = PersonCrop(size=(220, 220), padding=fit_padding(boxes, keypoints, visible), keep_aspect=False)
    touching = 0
    for box, pose, seen in zip(boxes, keypoints, visible, strict=True):
        image = torch.zeros(3, 400, 400, dtype=torch.uint8)
        moved = crop({"image": image, "box": box, "keypoints": pose, "visible": seen})["keypoints"][seen]
        assert (moved >= -1).all()
        assert (moved <= 220).all()
        touching += bool(((moved < 1) | (moved > 218)).any())
    assert touching == 1  # the person that decides


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(3, 4)}, r"expected boxes \(N, 4\).* got \(3, 4\)"),
        ({"visible": torch.ones(6, 8)}, r"and \(6, 8\)"),
        ({"boxes": torch.full((6, 4), 5.0)}, r"box 0 is \[5.0, 5.0, 5.0, 5.0\]; expected .* or NaN"),
        ({"boxes": torch.full((6, 4), torch.nan)}, "nothing to fit"),
        ({"visible": torch.zeros(6, 9)}, "nothing to fit"),
        ({"coverage": 0.0}, "coverage: expected a fraction"),
    ],
)
def test_errors(change, message):
    boxes, keypoints, visible = people(6)
    with pytest.raises(ValueError, match=message):
        fit_padding(**{"boxes": boxes, "keypoints": keypoints, "visible": visible, **change})
