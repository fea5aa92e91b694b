"""The papers' networks with weights of their own: they load offline, with the sizes and backbones
of their records, and predict on the README's photograph what they did when they were trained.
"""

from pathlib import Path

import pytest

import posezoo
from posezoo.weights.published_lspet import LSPET_NETWORKS

PHOTO = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
BOX = [273.15, 129.99, 417.36, 384.04]  # COCO's annotation of image 234748
JOINTS = ("right_hip", "left_shoulder", "right_shoulder", "neck", "head_top")
EXPECTED = {  # pixels of the photograph, in the order of JOINTS
    "posernn_attention": [(322, 262), (320, 188), (291, 194), (303, 187), (298, 162)],
    "posernn_lstm": [(311, 261), (315, 181), (295, 192), (308, 192), (307, 155)],
    "posernn_cnn": [(300, 237), (326, 195), (315, 216), (310, 187), (318, 174)],
    "deeppose": [(317, 253), (341, 195), (304, 199), (322, 195), (321, 167)],
    "ief": [(313, 258), (327, 178), (302, 186), (313, 171), (313, 143)],
    "hourglass_1": [(322, 263), (327, 184), (297, 184), (312, 174), (312, 134)],
    "hrnet_w18": [(315, 254), (329, 188), (296, 174), (309, 168), (302, 148)],
    "cpm_vgg_6s": [(325, 250), (322, 181), (302, 184), (312, 171), (302, 128)],
    "tompson_mpii": [(314, 266), (314, 186), (294, 186), (314, 186), (314, 147)],
}


@pytest.mark.parametrize("name", [f"{record.architecture}.{record.tag}" for record in LSPET_NETWORKS])
def test_weights_work_now(name):
    architecture = name.partition(".")[0]
    model = posezoo.create(architecture, pretrained=True)
    assert not model.training
    assert f"{architecture}.{model.weights.tag}" == name
    assert (model.skeleton.name, model.padding) == ("lsp14", 1.25)
    people = posezoo.predict(PHOTO, model, boxes=[BOX])
    found = people.keypoints[0][[model.skeleton.index(joint) for joint in JOINTS]]
    assert abs(found - EXPECTED[architecture]).max() < 2


def test_every_file_is_small():
    assert sum(record.size for record in LSPET_NETWORKS) < 54e6


def test_the_architecture_stays_the_papers():
    assert posezoo.create("hourglass_1").num_features == 256


@pytest.mark.parametrize(("name", "sibling"), [("hourglass_4", "hourglass_1"), ("deeppose_flic", "deeppose")])
def test_names_without_weights_point_to_their_siblings(name, sibling):
    with pytest.raises(ValueError, match=rf"weights for {name}\. The nearest that posezoo can fetch: {sibling}\."):
        posezoo.create(name, pretrained=True)
