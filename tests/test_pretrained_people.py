"""The default network: three names of one file, and the keypoints that it predicts on the README's
photograph.
"""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.prediction import DEFAULT_MODEL
from posezoo.skeletons import get_skeleton

PHOTO = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
NAMES = ("coco17_192x192", "lsp14_192x192", "people_192x192")
BOX = [273.15, 129.99, 417.36, 384.04]  # COCO's annotation of image 234748
# COCO's annotated keypoints of the person, pixels; the arms are crossed, and the knees are not annotated
ANNOTATED = {
    "nose": (325, 155),
    "left_shoulder": (320, 171),
    "right_shoulder": (290, 177),
    "left_ankle": (378, 354),
    "right_ankle": (356, 361),
}


@pytest.fixture(scope="module")
def models():
    return {name: posezoo.create(f"{DEFAULT_MODEL}.{name}", pretrained=True) for name in NAMES}


def test_the_default_has_cocos_keypoints():
    model = posezoo.create(DEFAULT_MODEL, pretrained=True)
    assert (model.skeleton.name, model.input_size, model.weights.tag) == ("coco17", (192, 192), "coco17_192x192")


def test_the_names_select_keypoints_of_one_file(models):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    everything = models["people_192x192"]
    with torch.no_grad():
        maps = everything(image)
        for name, skeleton in (("coco17_192x192", "coco17"), ("lsp14_192x192", "lsp14")):
            rows = [everything.skeleton.index(keypoint) for keypoint in get_skeleton(skeleton).keypoints]
            assert_close(models[name](image), maps[:, rows])
    assert len({posezoo.get_pretrained_cfg(f"{DEFAULT_MODEL}.{name}").sha256 for name in NAMES}) == 1


def test_five_keypoints_are_where_coco_annotated_them(models):
    people = posezoo.predict(PHOTO, models["coco17_192x192"], boxes=[BOX])
    found = dict(zip(people.skeleton.keypoints, people.keypoints[0], strict=True))
    for keypoint, place in ANNOTATED.items():
        assert abs(found[keypoint] - place).max() < 18, keypoint  # 0.1 of the root of the box's area


def test_the_person_is_found_in_the_whole_photograph(models):
    alone = posezoo.predict(PHOTO, models["coco17_192x192"])
    boxed = posezoo.predict(PHOTO, models["coco17_192x192"], boxes=[BOX])
    assert abs(alone.keypoints - boxed.keypoints).mean() < 6


def test_other_names_of_the_files_keypoints_load_by_name():
    upper = ["nose", "left_wrist", "right_wrist"]
    model = posezoo.create(DEFAULT_MODEL, pretrained=True, num_keypoints=3, skeleton=upper)
    every = posezoo.create(f"{DEFAULT_MODEL}.people_192x192", pretrained=True)
    rows = [every.skeleton.index(keypoint) for keypoint in upper]
    assert_close(model.final_layer.weight, every.final_layer.weight[rows])
