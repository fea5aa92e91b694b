"""Type checkers know everything that the documentation shows, and report misspelt names."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import posezoo

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PREAMBLE = """\
from pathlib import Path
from typing import Any

import torch

import posezoo

# left to the reader
frames: list[Path]
boxes: list[Any]
scores: list[Any]
model: Any
loader: Any
accelerator: Any
dataset: Any
"""
USER = """\
# pyright: strict
from pathlib import Path

import numpy as np
import posezoo
import torch
from posezoo import People, Poses3D, heatmaps, lift, losses, metrics, predict
from posezoo.contract import PoseModel
from posezoo.features import FeatureMaps
from posezoo.lifting import predict_single_person
from posezoo.models.hrnet import HRNet
from posezoo.models.martinez import Martinez
from posezoo.models.rpsm import RPSM
from typing_extensions import assert_type

assert_type(posezoo.create("rpsm", pretrained=True), RPSM)
assert_type(posezoo.create("hrnet_w32.coco_256x192", pretrained=True, num_keypoints=21), HRNet)
assert_type(posezoo.create_model("martinez").predict(torch.zeros(1, 17, 2)), tuple[torch.Tensor, torch.Tensor])
assert_type(posezoo.create("hrnet_w32", features_only=True, out_indices=(1, 2)), FeatureMaps)
assert_type(posezoo.create("local-dir:/models/mine"), PoseModel)
assert_type([posezoo.create(name) for name in posezoo.list_models("*hourglass*")], list[PoseModel])
assert_type(Martinez.from_pretrained("martinez"), Martinez)
assert_type(posezoo.load_checkpoint(None, "model.pth"), PoseModel)
assert_type(posezoo.predict("photo.jpg"), People)
assert_type(posezoo.predict(Path("photo.jpg"), boxes=[[0, 0, 9, 9]], flip=True), People)
assert_type(predict(["photo.jpg", np.zeros((9, 9, 3))]), list[posezoo.People])
assert_type(predict((Path("photo.jpg"),), detector=lambda images: [([], [])]), list[People])
assert_type(lift(predict_single_person([Path("frame.jpg")])), Poses3D)
assert_type(posezoo.lift(np.zeros((5, 17, 2)), skeleton="coco17").interpolated, np.ndarray)
assert_type(posezoo.get_skeleton("coco17"), posezoo.Skeleton)
poses = torch.zeros(5, 17, 3)
assert_type(metrics.mpjpe(poses, poses.numpy()), torch.Tensor)
assert_type(metrics.pck(np.zeros((5, 17, 2)), np.zeros((5, 17, 2)), np.ones(5)), np.ndarray)
assert_type(metrics.oks(poses[..., :2], poses[..., :2], poses[:, 0, 0], "coco17"), torch.Tensor)
assert_type(losses.heatmap_mse(poses, poses), torch.Tensor)
assert_type(heatmaps.encode(poses[..., :2], size=(64, 48)), tuple[torch.Tensor, torch.Tensor])
"""
TYPOS = """\
import posezoo
posezoo.crate("hrnet_w32")
posezoo.lift.find
posezoo.heatmaps.encod
posezoo.predict("photo.jpg").keypoint
"""


def mypy(folder: Path) -> list[tuple[str, int, str]]:
    """Run mypy on a user's files; return the file, line and message of its errors."""
    # the options and the cache of `mypy posezoo`, so that torch, the longest part, is read only once
    options = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.mypy]")[2]
    own, overrides = options.split("[[tool.mypy.overrides]]", 1)
    own = own.replace('packages = ["posezoo"]\n', "")
    pages = ", ".join(f'"{path.stem}"' for path in folder.glob("page_*.py"))
    more = (
        f"module = [{pages}]\ndisable_error_code = ['empty-body']\ndisallow_untyped_defs = false\n"
        "disallow_untyped_calls = false\ndisallow_incomplete_defs = false\n",
        "module = ['user']\nwarn_return_any = true\n",
        'module = ["peft.*", "lightning.*", "transformers.*", "kornia.*", "albumentations.*"]\n'
        "ignore_missing_imports = true\n",
    )
    overrides = "\n[[tool.mypy.overrides]]\n".join(["", overrides, *more])
    (folder / "pyproject.toml").write_text(f"[tool.mypy]{own}{overrides}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", "--no-error-summary", "--output", "json",
         *sorted(folder.glob("*.py"))],
        env={**os.environ, "MYPYPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(Path(error["file"]).name, error["line"], error["message"]) for error in found]


def pyright(folder: Path) -> list[tuple[str, int, str]]:
    """Run pyright on a user's files; return the file, line and message of its errors."""
    options = {
        "extraPaths": [str(ROOT)],
        **dict.fromkeys(("reportMissingImports", "reportMissingModuleSource", "reportPrivateImportUsage"), False),
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(options), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "--level", "error"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {(done.stdout + done.stderr)[-200:]}")
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(Path(error["file"]).name, error["range"]["start"]["line"] + 1, error["message"]) for error in found]


def pages() -> dict[str, str]:
    """The Python blocks of each page as a script, each nested in the one before, so that it may
    reuse names.
    """
    scripts = {}
    for page in PAGES:
        found = re.findall(
            r"^ *```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
        blocks = [textwrap.dedent(block) for block in found]  # those in tabs are indented
        if blocks:
            nested = [textwrap.indent(f"def block() -> None:\n{textwrap.indent(block, '    ')}", "    " * depth)
                      for depth, block in enumerate(blocks)]  # fmt: skip
            scripts[f"page_{page.stem.lower()}"] = "\n".join([PREAMBLE, *nested])
    assert len(scripts) > 5
    return scripts


@pytest.mark.parametrize(
    ("checker", "documents"),
    [(mypy, True), (pyright, False), pytest.param(pyright, True, marks=pytest.mark.slow)],  # 24 s, most for the imports
)
def test_names_of_a_users_script_and_of_the_documentation_are_known(checker, documents, tmp_path):
    if importlib.util.find_spec(checker.__name__) is None:
        pytest.skip(f"the package {checker.__name__} is not installed")
    everything = "import posezoo\n" + "\n".join(f"posezoo.{name}" for name in posezoo.__all__)
    scripts = {"user": USER, "everything": everything, "typos": TYPOS, **(pages() if documents else {})}
    for name, text in scripts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    errors = checker(tmp_path)
    typos = [error for error in errors if error[0] == "typos.py"]
    assert "\n".join(str(error) for error in errors if error not in typos) == ""
    expected = [(2, "crate"), (3, "find"), (4, "encod"), (5, "keypoint")]
    assert len(typos) == len(expected), typos
    for (_, line, message), (number, name) in zip(typos, expected, strict=True):
        assert line == number
        assert re.search(rf'attribute "{name}"|"{name}" is not a known attribute', message), message
