"""The comparison with MediaPipe, with a worker in its place that knows the truth of some people."""

import json
import sys

import numpy as np
import pytest
from people_files import write_coco
from running_examples import load_example

from posezoo.data import LSP
from posezoo.skeletons import convert

# In place of MediaPipe's Python: the annotated joints of LSPET; in whole photographs nobody if the number is even
WORKER = """
import json, sys, numpy as np
from pathlib import Path
_, jobs, result, _, model, *_ = sys.argv[1:]
assert model == "full", "no such model"
truth = np.load(Path(__file__).with_name("truth.npy"))
keypoints = np.full((len(jobs := json.loads(Path(jobs).read_text())), 33, 2), np.nan)
for row, (path, box) in enumerate(jobs):
    name = Path(path).stem
    if name.startswith("im") and (box or int(name[2:]) % 2):
        keypoints[row] = truth[int(name[2:]) - 1]
np.savez(result, keypoints=keypoints, seconds=len(jobs) / 8)
"""


@pytest.fixture(scope="module")
def example():
    return load_example("compare")


def test_one_table(example, lspet, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(example, "FITTED", (1, 8))
    coco = write_coco(tmp_path / "coco")
    (coco / "annotations" / "person_keypoints_val2017.json").rename(coco / "person_keypoints.json")
    (coco / "val2017").rename(coco / "images")
    points, has = convert(LSP(lspet).keypoints.numpy(), "lsp14", "mediapipe33")
    points[~has] = points[~has] + 50  # the face and more, anywhere
    np.save(tmp_path / "truth.npy", points)
    (tmp_path / "worker.py").write_text(WORKER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "worker.py"} "$@"\n')
    python.chmod(0o755)
    given = ["--lspet", str(lspet), "--photos", str(coco), "--images", "1", "12", "--models"]
    table = example.main([*given, "--mediapipe", str(python)])
    assert table[0][:5] == ["Method", "Given", "LSPET: correct", "LSPET: arms and legs", "LSPET: not found"]
    boxes, alone = table[1:]
    assert boxes[:2] == ["MediaPipe Pose, full", "true boxes"]
    assert boxes[3:] == ["1.000", "0 of 10", "0.000", "0.000", "3 of 3", "8.0"]  # two people have no torso
    assert 0.85 < float(boxes[2]) < 1  # this neck does not follow from the shoulders
    assert 0.4 < float(alone[3]) < 0.6
    assert alone[4] == "5 of 10"
    assert "MediaPipe Pose, heavy is left out: AssertionError: no such model" in capsys.readouterr().out


def test_people_of_a_photograph_are_matched(example, tmp_path):
    coco = write_coco(tmp_path / "coco", count=2)
    file = coco / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["image_id"] = 1  # both in the first image
    (coco / "person_keypoints.json").write_text(json.dumps(content))
    (coco / "val2017").rename(coco / "images")
    truth = example.photographs(coco)
    jobs = example.jobs_of(truth, boxed=False)
    assert len(jobs) == 1
    second = example.matched([truth.people.keypoints[[1]] + 1], truth, jobs)
    assert second[0].isnan().all()
    assert example.measured(second, truth) == ["0.500", "0.500", "1 of 2"]
    both = example.matched([truth.people.keypoints[[1, 0]]], truth, jobs)
    assert example.measured(both, truth) == ["1.000", "1.000", "0 of 2"]


def test_what_is_missing_is_said(example, lspet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example.main(["--models"])
    example.FITTED = (1, 8)
    table = example.main(["--lspet", str(lspet), "--images", "1", "2", "--models", "--mediapipe", str(tmp_path / "no")])
    assert len(table) == 1
    assert "MediaPipe Pose, full is left out: [Errno 2]" in capsys.readouterr().out
