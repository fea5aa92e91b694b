"""Every published file loads; `pytest -m weights` downloads them, several hundred megabytes each."""

from pathlib import Path

import pytest
import torch

import posezoo

ROOT = Path(__file__).parents[1]
DOWNLOADED = [
    name for name in posezoo.list_pretrained() if not posezoo.get_pretrained_cfg(name).sources[0].startswith("package:")
]
SHIPPED = [name for name in posezoo.list_pretrained() if name not in DOWNLOADED]


@pytest.mark.parametrize("name", [*SHIPPED, *(pytest.param(name, marks=pytest.mark.weights) for name in DOWNLOADED)])
def test_loads_strictly_and_finds_a_person(name):
    model = posezoo.create(name, pretrained=True)
    record = posezoo.get_pretrained_cfg(name)
    assert model.num_keypoints == record.kwargs["num_keypoints"]
    assert model.skeleton.name == record.skeleton
    people = posezoo.predict(ROOT / "docs" / "images" / "astronaut.jpg", model)
    names = model.skeleton.keypoints
    left, right = (people.keypoints[0, names.index(f"{side}_shoulder")] for side in ("left", "right"))
    # she faces the camera: her right shoulder is on our left, and both are about where they are in the picture
    assert abs(right - (110, 230)).max() < 80
    assert abs(left - (310, 240)).max() < 80
    assert torch.isfinite(torch.from_numpy(people.keypoints)).all()


@pytest.mark.parametrize("name", posezoo.list_pretrained())
def test_records_are_complete(name):
    record = posezoo.get_pretrained_cfg(name)
    for field in ("sources", "sha256", "kwargs", "input_size", "skeleton", "metrics", "metrics_by", "data", "license"):
        assert getattr(record, field), f"{name}: {field}"
    assert record.data_license
