"""Metrics batch by batch: the value of one call on everything, whatever the batches and processes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import run_distributed
from running_processes import PEOPLE, people
from torch.testing import assert_close

from posezoo import metrics
from posezoo.metrics import Running

PROGRAM = Path(__file__).parents[1] / "running_processes.py"


def batches(*sizes):
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


def test_batches_of_any_size_give_the_value_of_one_call():
    pred, target, visible = people().values()
    running = Running(metrics.pdj, skeleton="lsp14", threshold=0.3)
    for part in batches(5, 1, 3, 2):
        running.update(pred[part], target[part], visible=visible[part])
    expected = metrics.pdj(pred, target, "lsp14", visible=visible, threshold=0.3)
    assert torch.equal(running.compute(), expected)
    means = [metrics.pdj(pred[p], target[p], "lsp14", visible=visible[p], threshold=0.3) for p in batches(5, 1, 3, 2)]
    assert not torch.allclose(torch.stack(means).nanmean(dim=0), expected)  # which is what it is for


def test_arrays_lists_and_dicts():
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (6, 17, 3))
    pred, actions, subjects = (
        target + rng.normal(0, 30, target.shape),
        ["Eating", "Photo"] * 3,
        ["S9"] * 4 + ["S11"] * 2,
    )
    running = Running(metrics.human36m, protocol="martinez-1")
    for part in batches(4, 2):
        running.update(pred[part], target[part], actions=actions[part], subjects=tuple(subjects[part]))
    row = running.compute()
    assert row == metrics.human36m(pred, target, "martinez-1", actions=actions, subjects=subjects)
    assert isinstance(row["Average"], float)
    masked = Running(metrics.rmse)
    masked.update(pred[..., :2], target[..., :2], visible=None)
    assert isinstance(masked.compute(), np.ndarray)


def test_the_index_restores_the_order_and_drops_repetitions():
    pred = people()["pred"]
    shuffled = [3, 0, 1, 3, 2, 0]
    running = Running(lambda pred, names: (pred, names))
    for part in batches(2, 4):
        names = [f"image {number}" for number in shuffled[part]]
        running.update(pred[shuffled[part]], names, index=shuffled[part])
    found, names = running.compute()
    assert torch.equal(found, pred[:4])
    assert names == [f"image {number}" for number in range(4)]


def test_updates_go_on_after_a_result_and_reset_forgets():
    pred, target, _ = people().values()
    running = Running(metrics.rmse)
    running.update(pred[:4], target[:4])
    assert torch.equal(running.compute(), metrics.rmse(pred[:4], target[:4]))
    running.update(pred[4:], target[4:])
    assert torch.equal(running.compute(), metrics.rmse(pred, target))
    running.reset()
    with pytest.raises(ValueError, match="call update with the predictions of a batch first"):
        running.compute()
    assert torch.equal(running(pred[:2], target[:2]), metrics.rmse(pred[:2], target[:2]))  # of the batch alone
    running(pred[2:], target[2:])
    assert torch.equal(running.compute(), metrics.rmse(pred, target))


def test_updates_keep_detached_copies():
    pred = torch.zeros(2, 3, 2, requires_grad=True)
    buffer = np.zeros((2, 3, 2))
    running = Running(lambda pred, target: (pred, target))
    running.update(pred * 1, buffer)
    buffer[:] = 7
    found, target = running.compute()
    assert not found.requires_grad
    assert not target.any()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda a: ((a,), {}), r"expected the arguments of the first batch, 2 positional, visible; got 1 positional"),
        (lambda a: ((a, a), {}), r"2 positional, visible; got 2 positional$"),
        (lambda a: ((a, a), {"visible": None}), r"got 2 positional, visible \(visible None\)"),
        (lambda a: ((a, a), {"visible": a[..., 0], "index": [0, 1]}), "got 2 positional, visible, index"),
        (lambda a: ((a, a[:1]), {"visible": a[..., 0]}), "one entry per sample, got lengths .*argument 1': 1"),
        (lambda a: ((a, a), {"visible": torch.tensor(1)}), "argument visible': None"),
        (lambda a: ((a, a), {"visible": "all"}), "argument visible': None"),
        (lambda a: ((a, a), {"visible": a[..., 0], "threshold": 1}), "threshold is already an option"),
    ],
)
def test_batches_with_other_arguments_are_refused(second, message):
    array = torch.zeros(2, 14, 2)
    running = Running(metrics.pdj, skeleton="lsp14", threshold=0.2)
    running.update(array, array, visible=array[..., 0] == 0)
    arrays, named = second(array)
    with pytest.raises(ValueError, match=message):
        running.update(*arrays, **named)
    assert torch.isnan(running.compute()).all()  # the batch that was refused is not kept


@pytest.mark.parametrize("share", ["busy", "idle"])
def test_processes_report_the_value_of_one(tmp_path, share):
    everybody = people()
    expected = metrics.pdj(everybody["pred"], everybody["target"], "lsp14", visible=everybody["visible"])
    run_distributed(3 if share == "idle" else 2, PROGRAM, tmp_path / "found", share)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"found.{rank}")
        assert torch.equal(found["pdj"], expected)
        assert torch.equal(found["again"], expected)
        assert torch.equal(found["pred"], everybody["pred"])
        assert len(found["pred"]) == PEOPLE


def test_inside_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics")
    pred, target, visible = people().values()
    head = torch.full((PEOPLE,), 20.0)
    collection = torchmetrics.MetricCollection(
        {
            "pdj": Running(metrics.pdj, skeleton="lsp14"),
            "pckh": Running(metrics.pck, threshold=0.5),
            "lsp": Running(metrics.lsp_pck),
            "theirs": torchmetrics.MeanSquaredError(),
        },
        prefix="val/",
    )
    for part in batches(4, 7):
        collection.update(pred[part], target[part], visible=visible[part], normalizer=head[part])
    found = collection.compute()
    assert torch.equal(found["val/pdj"], metrics.pdj(pred, target, "lsp14", visible=visible))
    assert torch.equal(found["val/pckh"], metrics.pck(pred, target, head, visible=visible, threshold=0.5))
    assert found["val/Total"] == metrics.lsp_pck(pred, target, visible=visible)["Total"]
    assert float(found["val/theirs"]) == pytest.approx(float((pred - target).square().mean()), rel=1e-5)
    copied = copy.deepcopy(collection).compute()
    assert torch.equal(copied["val/pdj"], found["val/pdj"])
    assert len(collection.clone(prefix="test/").compute()) == len(found)
    collection.reset()
    step = collection(pred[:3], target[:3], visible=visible[:3], normalizer=head[:3])
    assert_close(
        step["val/pdj"], metrics.pdj(pred[:3], target[:3], "lsp14", visible=visible[:3]), rtol=0, atol=0, equal_nan=True
    )
