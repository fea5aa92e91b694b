"""examples/predict_ray.py on two local workers: every image once, damaged ones named, continued where it ended."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_two_workers_predict_a_folder_and_continue(tmp_path):
    pytest.importorskip("ray", reason="the package ray is not installed; posezoo[ray] brings it")
    parquet = pytest.importorskip("pyarrow.parquet")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        shutil.copy(ROOT / "docs" / "images" / "street.jpg", photos / f"{number}.jpg")
    (photos / "damaged.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    command = [sys.executable, ROOT / "examples" / "predict_ray.py", photos, "--out", out, "--part", "3"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_raylet_start_wait_time_s": "300"}  # for busy machines
    options = {"env": environment, "capture_output": True, "text": True, "check": False, "timeout": 1500}
    first = subprocess.run(command, **options)
    assert first.returncode == 0, first.stderr
    parts = sorted(out.glob("part-*"))
    assert len(parts) == 2
    rows = [row for part in parts for row in parquet.read_table(part).to_pylist()]
    assert sorted(Path(row["path"]).name for row in rows) == [*(f"{n}.jpg" for n in range(5)), "damaged.jpg"]
    assert [Path(row["path"]).name for row in rows if row["error"]] == ["damaged.jpg"]
    assert 0 < float(re.search(r"([\d.]+) s of a core per image", first.stdout)[1]) < 10
    people = json.loads((out / "people.json").read_text())
    assert sorted(person["image_id"] for person in people) == list(range(5))
    assert np.ptp([person["keypoints"] for person in people], axis=0).max() < 0.5
    shutil.rmtree(parts[1])  # as after an interruption
    before = parts[0].stat().st_mtime_ns
    again = subprocess.run(command, **options)
    assert again.returncode == 0, again.stderr
    assert "3 of 6" not in again.stdout
    assert parts[0].stat().st_mtime_ns == before
    assert len(json.loads((out / "people.json").read_text())) == 5
