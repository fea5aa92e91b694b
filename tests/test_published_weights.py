"""Every published file loads; `pytest -m weights` downloads them, several hundred megabytes each."""

import typing
from pathlib import Path

import pytest
import torch

import posezoo
from posezoo.weights.published_lspet import LSPET_NETWORKS

ROOT = Path(__file__).parents[1]


def input_kind(name):
    return typing.get_type_hints(posezoo.model_entrypoint(name))["return"].input_kind


def of_kind(kind):
    """Names with weights of the models that take images, or keypoints; `-m weights` where they are
    not shipped. Without the small networks of `test_pretrained_lspet.py`.
    """
    for name in posezoo.list_pretrained():
        if posezoo.get_pretrained_cfg(name) in LSPET_NETWORKS:
            continue
        shipped = posezoo.get_pretrained_cfg(name).sources[0].startswith("package:")
        if input_kind(name) == kind:
            yield pytest.param(name, marks=() if shipped else pytest.mark.weights)


@pytest.mark.parametrize("name", list(of_kind("image")))
def test_loads_strictly_and_finds_a_person(name):
    model = posezoo.create(name, pretrained=True)
    record = posezoo.get_pretrained_cfg(name)
    assert model.num_keypoints == record.kwargs["num_keypoints"]
    assert model.skeleton.name == (record.skeleton or "custom")
    people = posezoo.predict(ROOT / "docs" / "images" / "street.jpg", model)
    names = model.skeleton.keypoints
    left, right = (people.keypoints[0, names.index(f"{side}_shoulder")] for side in ("left", "right"))
    # COCO's annotation of image 234748; the person is 231 pixels tall, faces the camera, and fills a sixth of its width
    assert abs(right - (290, 177)).max() < 25
    assert abs(left - (320, 171)).max() < 25
    assert torch.isfinite(torch.from_numpy(people.keypoints)).all()


@pytest.mark.parametrize("name", list(of_kind("keypoints")))
def test_loads_strictly_and_finds_a_standing_person(name):
    """A person of 1.7 m, drawn upright five metres in front of a camera like those of Human3.6M,
    comes out as such.
    """
    model = posezoo.create(name, pretrained=True)
    record = posezoo.get_pretrained_cfg(name)
    assert model.skeleton.name == record.skeleton == "h36m17"
    sideways = {"hip": 130, "knee": 140, "ankle": 150, "shoulder": 170, "elbow": 220, "wrist": 240}  # mm
    down = {"pelvis": 0, "hip": 0, "knee": 440, "ankle": 880, "spine": -240, "thorax": -490, "neck_nose": -570}
    down |= {"head": -680, "shoulder": -440, "elbow": -170, "wrist": 70}
    points = []
    for keypoint in model.input_skeleton.keypoints:
        side, _, part = keypoint.rpartition("_") if keypoint.startswith(("left", "right")) else ("", "", keypoint)
        points.append((sideways.get(part, 0) * {"left": 1, "right": -1, "": 0}[side], down[part]))
    standing = torch.tensor(points)
    keypoints = 512 + 1145 * standing / 5000
    pose3d, _ = model.predict(keypoints[None, None], flip=True)
    assert (pose3d[0, 0, :, :2] - standing).norm(dim=-1).mean() < 150
