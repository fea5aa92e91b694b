"""RPSM's shipped weights: the user's line, the file that they share, and the pose of a person in a photograph."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.images import load_image

PHOTO = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
EXPECTED = {  # mm from the pelvis: x right, y down, z forward; as measured when the weights were made
    "head": (-157, -747, -138),
    "left_shoulder": (58, -471, -53),
    "right_shoulder": (-253, -384, -78),
    "right_knee": (88, 372, -61),
    "right_ankle": (264, 751, 40),
}
BOX = [273.15, 129.99, 417.36, 384.04]  # COCO's annotation of image 234748


@pytest.fixture(scope="module")
def model():
    return posezoo.create("rpsm", pretrained=True)


@pytest.fixture(scope="module")
def clip(model):
    """Five times the same photograph of a standing person, `(1, 5, 3, 192, 192)`."""
    size = model.input_size
    matrix = crop_matrix(*box_to_crop(torch.tensor([BOX]), size, padding=model.padding), size)
    return crop(load_image(PHOTO), matrix, size)[:, None].expand(-1, 5, -1, -1, -1)


def test_the_weights_bring_their_architecture(model):
    assert (model.weights.tag, model.input_size, model.num_features) == ("people_192x192", (192, 192), 19)
    assert posezoo.create("rpsm").input_size == (368, 368)  # the paper's


def test_the_2d_network_is_the_default_one(model):
    base = posezoo.create(model.weights.base, pretrained=True)
    for name in model.weights.shared:
        for key, value in model.get_submodule(name).state_dict().items():
            assert_close(value, base.get_submodule(name).state_dict()[key], rtol=0, atol=0)


def test_five_outputs(model, clip):
    pose3d, scores = model.predict(clip)
    assert (pose3d.shape, scores.shape) == ((1, 5, 17, 3), (1, 5, 17))
    place = dict(zip(model.skeleton.keypoints, pose3d[0, -1], strict=True))  # x right, y down, z forward, mm
    for keypoint, expected in EXPECTED.items():
        assert_close(place[keypoint], torch.tensor(expected, dtype=torch.float32), atol=15, rtol=0)
    stages = model(clip, all_stages=True)
    assert len(stages) == 3


def test_a_stream_equals_the_clip(model, clip):
    stream = model.stream()
    frames = torch.stack([stream(frame) for frame in clip[:, :3].unbind(dim=1)], dim=1)
    assert_close(frames, model.predict(clip[:, :3])[0], atol=0.1, rtol=0)
