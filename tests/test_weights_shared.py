"""Weights whose head has more keypoints than the network, and weights that share a submodule with
others.
"""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_weights import message
from toy import Toy, randomize, same, scratch_registry, snapshot, toy

import posezoo
from posezoo.checkpoints import load_weights
from posezoo.registry import create, register_model
from posezoo.skeletons import get_skeleton
from posezoo.weights import (
    Weights,
    WeightsNotFoundError,
    file_sha256,
    read_config,
    save_pretrained,
    select_keypoints,
)

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
NAMES = (*get_skeleton("lsp14").keypoints, *FACE)


def share(**kwargs):
    """An entry point of networks on another's convolution."""
    return Toy(**kwargs)


@pytest.fixture
def whole(tmp_path):
    """A network with the 19 keypoints of LSP's body and COCO's face, published as two records of
    one file.
    """
    with scratch_registry():
        register_model(toy)
        model = randomize(create("toy", num_keypoints=19, skeleton=NAMES))
        folder = save_pretrained(model, tmp_path / "whole", dtype="float16")
        file = {
            "sources": (f"local-dir:{folder}",),
            "sha256": file_sha256(folder / "model.safetensors"),
            "keypoints": NAMES,
        }
        records = {
            tag: Weights(**file, kwargs={"num_keypoints": count, "skeleton": skeleton}, skeleton=skeleton)
            for tag, count, skeleton in (("coco17", 17, "coco17"), ("lsp", 14, "lsp14"))
        }
        register_model(weights=records)(toy)
        register_model(share)
        yield model.half().float()


# keypoints by name ------------------------------------------------------------------------------------------------


def test_two_records_of_one_file_have_their_rows(whole):
    for tag, skeleton in (("coco17", "coco17"), ("lsp", "lsp14")):
        model = create(f"toy.{tag}", pretrained=True)
        names = get_skeleton(skeleton).keypoints
        assert model.skeleton.name == skeleton
        rows = [NAMES.index(name) for name in names]
        assert torch.equal(model.final_layer.weight, whole.final_layer.weight[rows])
        assert torch.equal(model.final_layer.bias, whole.final_layer.bias[rows])
        assert torch.equal(model.conv.weight, whole.conv.weight)
    assert create("toy", pretrained=True).num_keypoints == 17


def test_any_keypoints_of_the_file_can_be_selected(whole, caplog):
    for asked in ("lsp14", ["right_ear", "neck"]):
        with caplog.at_level(logging.WARNING, logger="posezoo"):
            model = create("toy", pretrained=True, skeleton=asked)
        names = get_skeleton(asked).keypoints
        assert model.num_keypoints == len(names)
        assert torch.equal(model.final_layer.bias, whole.final_layer.bias[[NAMES.index(name) for name in names]])
    assert not caplog.records
    assert not model.training


@pytest.mark.parametrize("asked", [{"skeleton": "h36m17"}, {"skeleton": ["nose", "tail"]}, {"num_keypoints": 3}])
def test_other_keypoints_get_a_fresh_head(whole, caplog, asked):
    with caplog.at_level(logging.WARNING, logger="posezoo"):
        model = create("toy", pretrained=True, **asked)
    assert "its head starts untrained" in caplog.text
    assert torch.equal(model.conv.weight, whole.conv.weight)
    assert len({*model.final_layer.bias.tolist()} & {*whole.final_layer.bias.tolist()}) == 0


def test_a_saved_selection_is_complete(whole, tmp_path):
    model = create("toy.lsp", pretrained=True)
    folder = save_pretrained(model, tmp_path / "part")
    assert "keypoints" not in read_config(folder)["weights"]
    assert same(snapshot(posezoo.from_pretrained(folder)), snapshot(model))


def test_the_file_itself_loads_by_its_checksum(whole, tmp_path):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((tmp_path / "whole" / "model.safetensors").read_bytes())
    model = posezoo.load_checkpoint(create("toy", num_keypoints=14, skeleton="lsp14"), bare)
    assert torch.equal(model.final_layer.bias, whole.final_layer.bias[:14])


def test_a_record_cannot_promise_keypoints_that_its_file_lacks():
    text = message(Weights, keypoints=NAMES[:14], kwargs={"skeleton": "coco17"})
    assert "nose, left_eye, right_eye, left_ear, right_ear" in text
    record = Weights(keypoints=NAMES, skeleton="coco17")
    assert Weights.from_dict(record.to_dict()) == record


def test_rows_that_are_not_keypoints_are_refused():
    state = {"head.weight": torch.zeros(6, 2), "conv.weight": torch.zeros(3)}
    assert "no keypoints d, e; they have a, b, c" in message(select_keypoints, state, ["head"], "abc", "ade")
    assert "head.weight (6, 2)" in message(select_keypoints, state, ["head"], "abc", "ab")
    assert "no head" in message(select_keypoints, state, ["tail"], "abc", "ab")


def test_an_unnamed_head_of_all_rows_is_loaded_unchanged(whole):
    assert torch.equal(create("toy", pretrained=True, num_keypoints=19).final_layer.bias, whole.final_layer.bias)


# shared submodules ------------------------------------------------------------------------------------------------


@pytest.fixture
def slim(whole, tmp_path):
    """The folder of a network with the convolution of `whole` and other values elsewhere."""
    model = randomize(create("share", num_keypoints=5))
    with torch.no_grad():
        model.conv.load_state_dict(whole.conv.state_dict())
    return model, save_pretrained(model, tmp_path / "slim", exclude=["conv"], base="toy.coco17")


def test_a_slim_file_loads_with_the_base(slim, tmp_path):
    model, folder = slim
    assert not [key for key in load_file(folder / "model.safetensors") if key.startswith("conv.")]
    config = read_config(folder)["weights"]
    assert (config["base"], config["shared"]) == ("toy.coco17", ["conv"])
    loaded = posezoo.from_pretrained(folder)
    assert same(snapshot(loaded), snapshot(model))
    record = Weights(sources=(f"local-dir:{folder}",), base="toy.coco17", shared=("conv",))
    target = create("share", num_keypoints=5)
    load_weights(target, record)
    assert same(snapshot(target), snapshot(model))
    complete = save_pretrained(loaded, tmp_path / "complete")  # no base any more
    assert "base" not in read_config(complete)["weights"]
    assert same(load_file(complete / "model.safetensors"), snapshot(model))
    assert same(snapshot(posezoo.from_pretrained(complete)), snapshot(model))


def test_a_slim_file_keeps_the_rule_of_other_heads(slim, caplog):
    model, folder = slim
    with caplog.at_level(logging.WARNING, logger="posezoo"):
        loaded = posezoo.from_pretrained(folder, num_keypoints=7)
    assert "its head starts untrained" in caplog.text
    assert torch.equal(loaded.conv.weight, model.conv.weight)


def test_a_damaged_base_leaves_the_model_unchanged(slim, tmp_path):
    _, folder = slim
    path = tmp_path / "whole" / "model.safetensors"
    target = create("share", num_keypoints=5)
    before = snapshot(target)
    record = Weights(sources=(f"local-dir:{folder}",), base="toy.coco17", shared=("conv",))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "sha256" in message(load_weights, target, record, kind=WeightsNotFoundError)
    path.unlink()
    assert "toy.coco17" in message(load_weights, target, record, kind=WeightsNotFoundError)
    assert same(snapshot(target), before)


def test_incompatible_options_are_refused(slim, whole, tmp_path):
    model, folder = slim
    place = (f"local-dir:{folder}",)
    target = create("share", num_keypoints=5)

    def refusal(**fields):
        return message(load_weights, target, Weights(sources=place, **fields))

    assert "toy.coco17, toy.lsp" in refusal(base="toy.tag", shared=("conv",))
    assert "no tensors of 'trunk'" in refusal(base="toy.coco17", shared=("trunk",))
    assert "leave bn out" in refusal(base="toy.coco17", shared=("bn",))
    assert "missing: conv.weight" in refusal()
    register_model(weights={"slim": Weights(sources=place, base="toy.coco17", shared=("conv",))})(share)
    assert "shares its own with toy.coco17" in refusal(base="share.slim", shared=("conv",))
    assert "expected both" in message(Weights, base="toy.coco17")
    assert "go together" in message(save_pretrained, model, tmp_path / "x", exclude=["conv"])
    assert "go together" in message(save_pretrained, model, tmp_path / "x", base="toy.coco17")
    randomize(model)
    model.conv.bias.data += 1
    text = message(save_pretrained, model, tmp_path / "x", exclude=["conv"], base="toy.coco17")
    assert "conv.weight" in text or "conv.bias" in text
    assert not (tmp_path / "x").exists()


def test_an_unpublished_file_is_not_completed(slim, tmp_path):
    """A slim file without its record names what it lacks."""
    _, folder = slim
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(folder / "model.safetensors"), bare)
    assert "missing: conv" in message(posezoo.load_checkpoint, create("share", num_keypoints=5), bare)
