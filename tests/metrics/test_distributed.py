"""Evaluation on two processes is evaluation on one: no sample lost, none counted twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import run_distributed
from PIL import Image

import posezoo

ROOT = Path(__file__).parents[2]
PEOPLE = 7  # two processes with batches of two: the last round has three of four


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Noisy images in the layout of LSPET, and a network that has seen nothing."""
    pytest.importorskip("accelerate")
    scipy_io = pytest.importorskip("scipy.io")
    folder = tmp_path_factory.mktemp("lspet")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    joints = np.ones((14, 3, PEOPLE))
    joints[:, :2] = random.uniform(20, 100, (14, 2, PEOPLE))
    joints[:, 2] = random.random((14, PEOPLE)) < 0.8
    joints[[2, 9], 2] = 1
    for number in range(1, PEOPLE + 1):
        pixels = random.integers(0, 255, (120, 110, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"im{number:05d}.jpg")
    scipy_io.savemat(folder / "joints.mat", {"joints": joints})
    torch.manual_seed(0)
    model = posezoo.create("hrnet_w32", width=2, num_keypoints=14, skeleton="lsp14")
    model.apply_input_settings({"input_size": [64, 64]})
    model.save_pretrained(folder / "model")
    return [
        "--data", f"lspet:{folder}", "--model", f"local-dir:{folder / 'model'}", "--images", "1", str(PEOPLE),
        "--batch-size", "2",
    ]  # fmt: skip


def test_two_processes_report_the_values_of_one(arguments, tmp_path):
    reports = []
    for processes in (1, 2):
        output = tmp_path / f"report_{processes}.json"
        said = run_distributed(processes, ROOT / "examples" / "evaluate_distributed.py", *arguments, "--output", output)
        assert said.count("PDJ@0.2 of 7 people") == 1
        reports.append(json.loads(output.read_text()))
    one, two = reports
    assert [one["processes"], two["processes"]] == [1, 2]
    assert one["people"] == two["people"] == PEOPLE
    assert 0 < one["pdj@0.2"] < 1
    assert two["pdj@0.2"] == pytest.approx(one["pdj@0.2"], abs=1e-12)
    assert two["per_keypoint"] == pytest.approx(one["per_keypoint"], abs=1e-12)
