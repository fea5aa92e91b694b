"""Published hourglasses, made from posezoo's by undoing the renaming, must load as what they are."""

import logging
import re
from typing import Any

import hourglass_keys
import pytest
import torch
from published_keys import (
    MMPOSE_META,
    State,
    meta,
    old,
    prefixed,
    settings,
    trunk_and_head,
    without_counters,
    write,
)
from toy import randomize, same

import posezoo
from posezoo.checkpoints import convert, infer, left_out
from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.registry import load_checkpoint


def renamed(model: torch.nn.Module, name: Any) -> State:
    return {name(key): value for key, value in trunk_and_head(model).items()}


def princeton_hourglass(model: Any) -> State:
    """With the skip convolution that every residual of the authors' owns, run or not."""
    state = renamed(model, hourglass_keys.princeton)
    for key, end in list(state.items()):
        skip = key.replace(".conv3.conv.weight", ".skip_layer.conv.weight")
        if skip not in state:
            start = len(state[key.replace(".conv3.conv.weight", ".bn1.weight")])
            state |= {
                skip: torch.full((len(end), start, 1, 1), 7.0),
                skip.replace("weight", "bias"): torch.ones(len(end)),
            }
    return state


def mmpose_hourglass(model: Any, head: str = "keypoint_head") -> State:
    """With the block that would lead to a second hourglass."""
    state = renamed(model, lambda key: hourglass_keys.mmpose(key, head))
    return state | {
        "backbone.inters.0.conv1.weight": torch.ones(16, 16, 3, 3),
        "backbone.inters.0.bn1.bias": torch.ones(16),
    }


@pytest.fixture(scope="module")
def hourglasses():
    return {
        "princeton": randomize(posezoo.create("hourglass_2", width=16, num_keypoints=16, skeleton="mpii16")),
        "bearpaw": randomize(posezoo.create("hourglass_2_bearpaw", width=16, num_modules=2)),
        "mmpose_hourglass": randomize(posezoo.create("hourglass52", width=16, num_keypoints=17)),
    }


@pytest.mark.parametrize(
    ("format", "layout"),
    [
        ("princeton", lambda m: {"state_dict": prefixed(princeton_hourglass(m), "model.module."), "epoch": 200}),
        ("princeton", lambda m: old(princeton_hourglass(m))),
        ("bearpaw", lambda m: renamed(m, hourglass_keys.bearpaw)),
        ("bearpaw", lambda m: {"state_dict": prefixed(renamed(m, hourglass_keys.bearpaw), "module."), "best_acc": 1.0}),
        ("mmpose_hourglass", lambda m: {"state_dict": mmpose_hourglass(m), "meta": MMPOSE_META}),
        (
            "mmpose_hourglass",
            lambda m: {"state_dict": mmpose_hourglass(m, "head") | {"data_preprocessor.mean": torch.ones(3)}},
        ),
    ],
)
def test_hourglass(tmp_path, hourglasses, format, layout):
    published = hourglasses[format]
    model = load_checkpoint(None, write(tmp_path / "hourglass.pth", layout(published)))
    assert (type(model), *settings(model)[1:]) == (type(published), *settings(published)[1:])
    assert same(without_counters(trunk_and_head(model)), without_counters(trunk_and_head(published)))
    mean, std = {
        "princeton": ([0.0] * 3, [1.0] * 3),
        "bearpaw": ([0.4404, 0.4440, 0.4327], [1.0] * 3),  # specs/models2d_b.md 1.10
        "mmpose_hourglass": (IMAGENET_MEAN, IMAGENET_STD),
    }[format]
    torch.testing.assert_close(model.normalize.mean, torch.tensor(mean))
    torch.testing.assert_close(model.normalize.std, torch.tensor(std))


@pytest.mark.parametrize(
    ("format", "layout", "says"),
    [
        (
            "princeton",
            princeton_hourglass,
            r"pre\.3\.skip_layer\.conv\.weight \(128, 128, 1, 1\) and 57 more \(no output .*: a residual that ends as",
        ),
        (
            "mmpose_hourglass",
            mmpose_hourglass,
            r"backbone\.inters\.0\.conv1\.weight \(16, 16, 3, 3\) and 1 more \(no output .*: it leads to",
        ),
    ],
)
def test_tensors_without_effect_are_left_out_and_named(tmp_path, hourglasses, format, layout, says, caplog):
    state = layout(hourglasses[format])
    (note,) = left_out(state, format)
    assert re.search(f"left out: {says}", note)
    with caplog.at_level(logging.INFO, "posezoo"):
        load_checkpoint(None, write(tmp_path / "hourglass.pth", state))
    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.INFO, note)


def test_skip_convolutions_that_are_run_are_kept(hourglasses):
    """Only where a residual ends as wide as it starts does its input go past it as it is."""
    state = convert(princeton_hourglass(hourglasses["princeton"]), "princeton")
    kept = [key for key in state if "skip_layer" in key]
    assert kept == [f"pre.{place}.skip_layer.{leaf}" for place in (1, 4) for leaf in ("weight", "bias")]


def test_a_second_hourglass_of_mmposes_is_refused(hourglasses):
    state = mmpose_hourglass(hourglasses["mmpose_hourglass"])
    more = {key.replace("modules.0.", "modules.1."): value for key, value in state.items()}
    with pytest.raises(ValueError, match="one hourglass that mmpose published, got one with more"):
        convert(state | more, "mmpose_hourglass")


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("hourglass_1", {"num_keypoints": 17}, ("hourglass_1", {})),
        ("hourglass_8", {"num_keypoints": 16}, ("hourglass_8", {"num_keypoints": 16, "skeleton": "mpii16"})),
        ("hourglass_2_bearpaw", {"num_keypoints": 17}, ("hourglass_2", {"stem": "bearpaw"})),
        ("hourglass_4", {}, ("hourglass_4", {"num_keypoints": 16, "skeleton": "mpii16"})),
        (
            "hourglass_4",
            {"num_stacks": 3, "num_modules": 2, "num_keypoints": 17},
            ("hourglass_8", {"num_stacks": 3, "num_modules": 2}),
        ),
        (
            "hourglass_1",
            {"width": 64, "num_keypoints": 5},
            ("hourglass_1", {"width": 64, "num_keypoints": 5, "skeleton": None}),
        ),
        ("hourglass52", {"width": 128}, ("hourglass52", {"width": 128})),
    ],
)
def test_the_hourglass_is_read_from_the_keys(name, kwargs, expected):
    model = meta(name, **kwargs)
    state = model.state_dict()
    architecture, settings = infer(state)
    assert (architecture, settings) == (expected[0], {"num_keypoints": 17, "skeleton": "coco17"} | expected[1])
    assert {k: v.shape for k, v in meta(architecture, **settings).state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }
