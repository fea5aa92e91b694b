"""docs/inside_your_code.md: its snippets run, and do what the page says."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, freeze, unfreeze
from torch.testing import assert_close

import posezoo

OPTIONAL = ("peft", "onnxruntime")  # what the page itself tells to install
SLOW = (r"torch\.compile", "to_pt2", "to_onnx")
PAGE = Path(__file__).parents[1] / "docs" / "inside_your_code.md"
NORMS = torch.nn.modules.batchnorm._BatchNorm


@pytest.fixture
def model():
    torch.manual_seed(0)
    return posezoo.create("hourglass_1", width=32, num_keypoints=5).train()


def loss_of(model, seed=1):
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return sum((stage - 1).square().mean() for stage in model(image, all_stages=True))


@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_snippets_run(tmp_path, monkeypatch, all_of_them):
    monkeypatch.chdir(tmp_path)  # they write files
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) > 9
    for block in blocks:
        absent = [package for package in OPTIONAL if f"import {package}" in block and not find_spec(package)]
        if not absent and (all_of_them or not re.search("|".join(SLOW), block)):
            exec(compile(block, PAGE.name, "exec"), names)
    torch.compiler.reset()
    for folder in ("averaged", "averaged-too"):
        assert posezoo.create(f"local-dir:{folder}", pretrained=True).num_keypoints == 21


def test_layers_learn_at_their_rates(model):
    """One step of plain gradient descent moves each parameter by its own rate times its gradient."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = create_optimizer_v2(model, opt="momentum", momentum=0.0, lr=0.1, weight_decay=0.0, layer_decay=0.5)
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] *= group["lr_scale"]
        rates.update({id(parameter): group["lr"] for parameter in group["params"]})
    loss_of(model).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert_close(before[name] - parameter.detach(), rates[id(parameter)] * parameter.grad, rtol=1e-2, atol=1e-6)
    of = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    first = next(iter(of))
    heads = [rate for name, rate in of.items() if name.startswith(model.head_keys)]
    assert of[first] == min(of.values())
    assert heads == [0.1] * len(heads)
    assert of[first] < 0.1


def test_timms_schedulers_scale_the_rates_themselves(model):
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, layer_decay=0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}  # what the page warns of
    scheduler, _ = create_scheduler_v2(optimizer, "cosine", num_epochs=4)
    scheduler.step(0)
    assert_close(
        [group["lr"] for group in optimizer.param_groups], [0.1 * g["lr_scale"] for g in optimizer.param_groups]
    )


def test_a_frozen_trunk_stays_and_the_head_learns(model):
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(model.head_keys))
    for layer in model.modules():
        if isinstance(layer, NORMS):
            layer.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.set_grad_checkpointing()
    first = loss_of(model)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert loss_of(model) < first
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith(model.head_keys)}


def test_layers_frozen_by_timm_are_saved_after_unfreezing(model, tmp_path):
    trunk = [name for name, _ in model.named_children() if not name.startswith(model.head_keys)]
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    freeze(model, trunk)
    assert not [layer for layer in model.modules() if isinstance(layer, NORMS)]
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in model.named_parameters() if name.startswith(model.head_keys)}
    unfreeze(model, trunk)
    model.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items() if "num_batches" not in key)


@pytest.mark.parametrize("kind", ["timm", "torch"])
def test_the_average_is_a_model_of_the_zoo(model, tmp_path, kind):
    if kind == "timm":
        average = ModelEmaV3(model, decay=0.75)
        update = average.update
    else:
        swa = torch.optim.swa_utils
        average = swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(0.75), use_buffers=True)
        average.update_parameters(model)  # the first only copies
        update = average.update_parameters
    key = next(key for key, _ in model.named_parameters())
    before = model.get_parameter(key).detach().clone()
    with torch.no_grad():
        model.get_parameter(key).add_(1)
    update(model)
    assert_close(average.module.get_parameter(key).detach(), before + 0.25)
    average.module.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(loaded.get_parameter(key), average.module.get_parameter(key))
    image = torch.rand(1, 3, 64, 64)
    assert_close(loaded.predict(image), average.module.eval().predict(image))
