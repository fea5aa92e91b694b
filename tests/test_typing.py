"""A type checker knows everything that the documentation shows, and reports misspelt names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import posezoo

pytest.importorskip("mypy", reason="the package mypy is not installed")

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# names that the pages leave to their readers
PREAMBLE = """\
from pathlib import Path
from typing import Any

import torch

import posezoo

frames: list[Path] = []
boxes: list[Any] = []
model: Any = posezoo.create("hrnet_w32")
loader: Any
accelerator: Any
dataset: Any
"""
USER = """\
from pathlib import Path

import numpy as np
import posezoo
from posezoo import People, Poses3D, lift, predict
from posezoo.lifting import predict_single_person
from typing_extensions import assert_type

assert_type(posezoo.predict("photo.jpg"), People)
assert_type(posezoo.predict(Path("photo.jpg"), boxes=[[0, 0, 9, 9]], flip=True), People)
assert_type(predict(["photo.jpg", np.zeros((9, 9, 3))]), list[posezoo.People])
assert_type(predict((Path("photo.jpg"),), detector=lambda images: [([], [])]), list[People])
assert_type(lift(predict_single_person([Path("frame.jpg")])), Poses3D)
assert_type(posezoo.lift(np.zeros((5, 17, 2)), skeleton="coco17").interpolated, np.ndarray)
assert_type(posezoo.list_models("*hourglass*"), list[str])
assert_type(posezoo.get_skeleton("coco17"), posezoo.Skeleton)
"""
TYPOS = """\
import posezoo
posezoo.crate("hrnet_w32")
posezoo.lift.find
posezoo.heatmaps.encod
posezoo.predict("photo.jpg").keypoint
"""


def check(folder: Path, files: dict[str, str], *, whole: bool) -> list[str]:
    """Lines that mypy prints for a user's files; with `whole` it reads all third-party packages too."""
    paths = [folder / f"{name}.py" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    skip = [] if whole else ["follow_imports = skip", "follow_imports_for_stubs = True"]
    config = ["[mypy]", f"cache_dir = {ROOT / '.mypy_cache' / 'user' / ('whole' if whole else 'own')}"]
    third_party = "torch,timm,torchvision,transformers,onnxruntime,peft,PIL,safetensors,huggingface_hub,tqdm,scipy"
    config += [f"[mypy-{','.join(f'{name}.*' for name in third_party.split(','))}]", "ignore_missing_imports = True"]
    (folder / "mypy.ini").write_text("\n".join([*config, *skip]) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini", "--no-error-summary", *paths],
        env={**os.environ, "MYPYPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def pages() -> dict[str, str]:
    """All Python of each page, as one script."""
    scripts = {}
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        if blocks:
            scripts[f"page_{page.stem.lower()}"] = "\n".join([PREAMBLE, *blocks])
    assert len(scripts) > 5
    return scripts


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_the_documentation_shows_type_checks(tmp_path, whole):
    everything = "import posezoo\n" + "\n".join(f"posezoo.{name}" for name in posezoo.__all__)
    files = {**pages(), "user": USER, "everything": everything, "typos": TYPOS}
    printed = check(tmp_path, files, whole=whole)
    typos = [line for line in printed if line.startswith("typos.py:")]
    assert not [line for line in printed if line not in typos]
    expected = [(2, "crate"), (3, "find"), (4, "encod"), (5, "keypoint")]
    assert len(typos) == len(expected), typos
    for line, (number, name) in zip(typos, expected, strict=True):
        assert re.match(rf'typos\.py:{number}: error: .*has no attribute "{name}"', line), line
