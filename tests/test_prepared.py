"""Prepared copies of networks: the same keypoints, made late, never after a change of the weights."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import posezoo
from posezoo import prepared
from posezoo.prediction import DEFAULT_MODEL, _cached_model, predict_stream, resolve_model
from posezoo.prepared import EAGER_CALLS, prepare

NAMES = ("simple_baseline_resnet18", "hrnet_w18", "hourglass_1", "simple_baseline_lite", "deeppose_resnet50")


def trained(name):
    """A network whose batch normalisation does something."""
    torch.manual_seed(0)
    model = posezoo.create(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def used_copy(model, dtype=torch.float32):
    return prepared._COPIES[model][dtype].network


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_the_same_output(name):
    model = trained(name)
    image = torch.rand(2, 3, 64, 64)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        expected = model(image)
        fast = prepare(model, image)
        assert_close(fast(image), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        assert_close(model(image), expected, rtol=0, atol=0)  # the network itself is as it was
        other = torch.rand(3, 3, 64, 128)  # than the size that the order of the weights was chosen for
        expected = model(other)
        assert_close(fast(other), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        assert fast(other).shape == expected.shape
    packed = sum(isinstance(module, prepared.PackedConvolution) for module in fast.modules())
    assert packed > norms / 2 or not torch.backends.mkldnn.is_available()
    left = sum(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert left <= 0.4 * norms  # those before a convolution stay
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def test_predict_makes_it_once_and_again_after_a_change():
    model, image = trained("simple_baseline_resnet18"), torch.rand(1, 3, 64, 64)
    outputs = [model.predict(image)[0] for _ in range(EAGER_CALLS)]
    assert used_copy(model) is None  # not worth it yet
    outputs += [model.predict(image)[0] for _ in range(3)]
    first = used_copy(model)
    assert first is not None
    for output in outputs:
        assert_close(output, outputs[0], rtol=0, atol=0.05)
    with torch.no_grad():
        model.final_layer.bias += 1
    expected = model.decode(model(image))[1].detach()
    assert_close(model.predict(image)[1], expected)
    for _ in range(EAGER_CALLS + 1):
        assert_close(model.predict(image)[1], expected, rtol=1e-4, atol=1e-5)
    assert used_copy(model) not in (None, first)
    model.reset_head(3)
    assert model.predict(image)[0].shape == (1, 3, 2)


def test_it_can_be_switched_off_and_is_not_made_where_it_would_be_wrong():
    image = torch.rand(1, 3, 64, 64)

    def run(model, times=EAGER_CALLS + 2):
        for _ in range(times):
            model.predict(image)
        return [entry.network for entry in prepared._COPIES.get(model, {}).values() if entry.network]

    off = trained("simple_baseline_resnet18")
    off.prepare = False
    assert not run(off)
    training = trained("simple_baseline_resnet18")
    training.backbone.train()  # a part that is not in eval mode
    assert not run(training)
    hooked, seen = trained("simple_baseline_resnet18"), []
    hooked.backbone.layer1.register_forward_hook(lambda *_: seen.append(1))
    assert not run(hooked)
    assert len(seen) == EAGER_CALLS + 2
    double = trained("simple_baseline_resnet18").double()
    double.predict(image.double())
    assert not prepared._COPIES.get(double)
    assert run(copy.deepcopy(hooked)) == []  # a copy of a model has its own


def test_posezoo_predict_runs_the_network_itself_on_request():
    model, images = trained("simple_baseline_resnet18"), [np.full((64, 48, 3), 99, np.uint8)] * (EAGER_CALLS + 2)
    settings = {"second_pass": False, "batch_size": 1}
    plain = posezoo.predict(images, model, prepare=False, **settings)
    assert model not in prepared._COPIES
    assert all((people.scores == plain[0].scores).all() for people in plain)
    list(predict_stream(images, model, prepare=False, **settings))
    assert model not in prepared._COPIES
    posezoo.predict(images, model, **settings)
    assert used_copy(model) is not None


def test_a_copy_that_differs_is_not_used(monkeypatch):
    model, image = trained("simple_baseline_resnet18"), torch.rand(1, 3, 64, 64)

    def wrong(model, image, dtype):
        network = prepare(model, image, dtype)
        network.final_layer.bias += 1
        return network

    monkeypatch.setattr(prepared, "prepare", wrong)
    expected = model.predict(image)[1]
    for _ in range(EAGER_CALLS + 3):
        assert_close(model.predict(image)[1], expected, rtol=0, atol=0)
    assert used_copy(model) is None


def test_bf16_stays_within_half_a_pixel():
    model = posezoo.create("simple_baseline_lite", pretrained=True)
    photo = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
    image = posezoo.create_transform(model)(photo)[None]
    expected, scores = model.predict(image)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(EAGER_CALLS + 2):
            found, _ = model.predict(image)
    assert used_copy(model, torch.bfloat16) is not None
    sure = scores > 0.3
    assert (found - expected)[sure].abs().max() <= 0.5 if sure.any() else True
    assert (found - expected).norm(dim=-1).median() <= 0.5


def test_weights_of_inference_mode_are_used_as_they_are():
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        model = trained("simple_baseline_lite")
        inside = [model.predict(image)[0] for _ in range(EAGER_CALLS + 2)]
    assert_close(inside[-1], inside[0], rtol=0, atol=0)
    assert_close(model.predict(image)[0], inside[0], rtol=0, atol=0)
    assert model not in prepared._COPIES


def test_the_default_network_outlives_inference_mode():
    image = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    _cached_model.cache_clear()
    with torch.inference_mode():
        inside = posezoo.predict(image)
    assert not any(value.is_inference() for value in resolve_model(DEFAULT_MODEL, "cpu", takes="image").parameters())
    np.testing.assert_allclose(posezoo.predict(image).keypoints, inside.keypoints, atol=1e-3)
