"""The records of published checkpoints: complete, consistent with the models they are for, and
those of the specs.
"""

import functools
import json
import re
from urllib.parse import urlsplit

import pytest
import torch

import posezoo
from posezoo.checkpoints import FORMATS
from posezoo.weights.published_image_networks import TESTS

NAMES = [name for name in posezoo.list_models(include_tags=True) if "." in name]
RECORDS = {name: posezoo.get_pretrained_cfg(name) for name in NAMES}

# the fragments of sha256 in specs/models2d_a.md 1.5 and 3.7, models2d_b.md 7.1 and 7.2, models3d.md 10
SPECS = """
72ef04f3 2f247111 7df89a88 c63cd0b6 87516a90 15f5e6f9 0e978875 165487b8 116e62b8 2d2585c9 fc742f1f 49337155
ce125879 15e342d9 90e5d470 19bc0837 95e0fec3 c9d8eb38 ab85504f
04af38ce ec54d7f3 7b8db90e e6f795e9 065d3625 6e6babf0 8c71bdc9 0345f330 f6e307c2 7fbb906f 3860d4c9
81c58e40 c78dce93 ca5956af d9f0d786 0e67c616 b9e0b3ab c161b7de 314c8528 4ec713ba be91ba2b
0e00bf12 9bab4c9b e1ebdd6f 39c3c381 07f147eb 307dafc2 8cba3197 e881a4b6
c129dcb6 8b90b538 528ec248 487d40a4 f754df5f 329f8454 43379d20 33d3e5e5 64d433e6 cb45c88d ab4840d5 d3b8ebd7
73ede547 9a3f7c85 3feaef8f 70d7ab01 aba0be42 e97c1a0f 2554c524 0f89c63e
463da051 f1e84e3b 21815b2c a9ea6d77 458125cc 0f16a0ce 868180df 308cf591
418ffc88 416f5d71 3ecba29d 6c4f923f 92cab7bd f1601c5b 0decd39f ae358435 04090bc3
30a4e465 79b35445 960be101 c6a526b6 8f5870f4 c88c512a dbd49aba
1ee951c4 806f00a3 b5d9b3f1 5fd6d3ff a62807c7 932cb3b4 83d606f7 c4ec1a0b f0ad73a4
"""
ORIGINS = """
pose_iter_985000_addLEEDS.caffemodel pose_iter_630000.caffemodel pose_iter_395000.caffemodel pose_iter_40000.caffemodel
pose_iter_320000.caffemodel pose_iter_70000.caffemodel original_2hg/checkpoint.pt original_8hg/checkpoint.pt
13_wJ6nC7my1KKouMkQMqyr9r1ZnLnukP 1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC 1UoJhTtjHNByZSm96W3yFTfU5upJnsKiS
1zYC7go9EV0XaSlSBjMaiyE_4TcHc_S38 1_wn2ifmoQprBrFvUCDedjPON4Y6jsN-v ief/models.tar 1GUguVwGcRwKkFIXM5sQ8Cg
simplepose_resnet18_coco-6631-7c3656b3.pth simplepose_resnet50b_coco-7102-621d2545.pth
simplepose_resnet101b_coco-7244-540c29ec.pth simplepose_resnet152b_coco-7253-3a358d7d.pth
pretrained_h36m_cpn.bin pretrained_humaneva15_detectron.bin pretrained_h36m_detectron_coco.bin
"""


@functools.cache
def made(architecture, kwargs):
    """A model without memory."""
    with torch.device("meta"):
        return posezoo.create(architecture, **json.loads(kwargs))


def test_all_of_the_specs_are_there():
    known = {record.sha256[:8] for record in RECORDS.values()}
    assert [digest for digest in SPECS.split() if digest not in known] == []
    origins = " ".join(record.origin for record in RECORDS.values())
    assert [origin for origin in ORIGINS.split() if origin not in origins] == []
    lifters = {name for name in NAMES if name.startswith("temporal_conv") and not name.endswith(".cmu")}
    assert len(lifters) == 10  # mmpose's seven and the authors' three


def test_no_file_is_there_twice():
    # records that select keypoints of one file name the same file and the same digest
    files = {(record.sources, record.sha256) for record in RECORDS.values() if record.keypoints}
    files |= {(record.sources, record.sha256, name) for name, record in RECORDS.items() if not record.keypoints}
    digests = [file[1][:8] for file in files if file[1]]
    assert len(digests) == len(set(digests))
    sources = [source for file in files for source in file[0]]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_complete_and_its_model_can_be_made(name):
    record = RECORDS[name]
    model = made(record.architecture, json.dumps(record.arguments))
    assert model.num_keypoints == record.kwargs["num_keypoints"]
    assert (model.skeleton.name if model.skeleton else "") in (record.skeleton, "custom")
    assert record.license
    assert record.data
    assert record.data_license
    assert record.format in (*FORMATS, "")
    assert bool(record.metrics) == bool(record.protocol)
    assert record.metrics_by or not record.metrics
    assert all(value > 0 for scores in record.metrics.values() for value in scores.values())
    assert record.sources or urlsplit(record.origin).scheme in ("http", "https"), "neither fetched nor to be fetched"
    if record.sources:  # fetched: nothing that a user may ask for is left open
        assert record.sha256
        assert record.skeleton or record.keypoints
        assert record.metrics
    if model.input_kind == "keypoints":
        assert (record.input_size, record.codec, record.channel_order, record.flip_shift) == (None, "", "", None)
        return
    assert record.channel_order == ("BGR" if record.format in ("pose_resnet", "caffe_cpm") else "RGB")
    assert record.input_size is not None
    height, width = record.input_size
    assert re.search(rf"_{height}x{width}(_|$)", record.tag) or record.tag == "h36m"
    assert (record.flip_shift is None) == (record.codec == "")
    if record.codec:
        assert record.codec in ("msra", "gaussian", "dark", "udp")
        assert getattr(model, "flip_shift", record.flip_shift) == record.flip_shift
        assert (model.decoding == record.codec) == (record.codec in ("dark", "udp"))


def test_udp_is_cropped_and_averaged_as_it_was_trained():
    udp = {name: record for name, record in RECORDS.items() if record.codec == "udp"}
    assert len(udp) == 8
    for record in udp.values():
        assert record.arguments["decoding"] == "udp"
        assert record.arguments["flip_shift"] is record.flip_shift is False


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if "openmmlab" in "".join(record.sources)])
def test_names_of_openmmlabs_files_agree_with_their_records(name):
    record = RECORDS[name]
    (file,) = {source.rpartition("/")[2] for source in record.sources}  # of one or of two sites
    assert re.search(rf"-{record.sha256}_20\d{{6}}\.pth$", file)
    assert record.license == "Apache-2.0"
    if record.input_size:
        assert f"{record.input_size[0]}x{record.input_size[1]}" in file
    depth = re.search(r"_(?:resnet|w)(\d+)", record.architecture)
    if depth:
        assert re.search(rf"res{depth[1]}\b|res{depth[1]}_|w{depth[1]}", file)
    for codec in ("dark", "udp"):
        assert (codec in file) == (record.codec == codec)
    for data in ("mpii", "crowdpose", "posetrack18", "jhmdb", "aic"):
        assert (data in file) == (data in record.tag.replace("aic19", "aic"))


def test_every_test_set_of_mmpose_is_used():
    shown = {
        (data.partition(" split")[0], metric) for r in RECORDS.values() for data, m in r.metrics.items() for metric in m
    }
    for _, test, metric, *_ in TESTS.values():
        assert (test, metric) in shown
