"""A type checker knows everything that the documentation shows, and reports misspelt names."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import posezoo

pytest.importorskip("mypy", reason="the package mypy is not installed")

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
model: Any
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
# what `mypy --strict` adds for a file; not its options for the packages that it imports
STRICT = """\
check_untyped_defs = true
disallow_any_generics = true
disallow_subclassing_any = true
disallow_untyped_calls = true
disallow_untyped_decorators = true
extra_checks = true
strict_equality = true
warn_return_any = true
"""
TYPOS = """\
import posezoo
posezoo.crate("hrnet_w32")
posezoo.lift.find
posezoo.heatmaps.encod
posezoo.predict("photo.jpg").keypoint
"""


def check(folder: Path, files: dict[str, str]) -> list[str]:
    """Run mypy on a user's files; return the lines that it prints."""
    paths = [folder / f"{name}.py" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    # the options and the cache of `mypy posezoo`, so that torch, the longest part, is read only once
    options = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.mypy]")[2]
    own, overrides = options.split("[[tool.mypy.overrides]]", 1)
    own = own.replace('packages = ["posezoo"]\n', "")
    users = ", ".join(f'"{name}"' for name in files)
    more = (
        f"module = [{users}]\ndisable_error_code = ['empty-body']\ndisallow_untyped_defs = false\n",
        f"module = ['user', 'everything']\n{STRICT}",
        'module = ["peft.*", "lightning.*", "transformers.*", "kornia.*", "albumentations.*"]\n'
        "ignore_missing_imports = true\n",
    )
    overrides = "\n[[tool.mypy.overrides]]\n".join(["", overrides, *more])
    (folder / "pyproject.toml").write_text(f"[tool.mypy]{own}{overrides}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", "--no-error-summary", *paths],
        env={**os.environ, "MYPYPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


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


def test_code_of_the_documentation_type_checks(tmp_path):
    everything = "import posezoo\n" + "\n".join(f"posezoo.{name}" for name in posezoo.__all__)
    printed = check(tmp_path, {**pages(), "user": USER, "everything": everything, "typos": TYPOS})
    typos = [line for line in printed if line.startswith("typos.py:")]
    assert "\n".join(line for line in printed if line not in typos) == ""
    expected = [(2, "crate"), (3, "find"), (4, "encod"), (5, "keypoint")]
    assert len(typos) == len(expected), typos
    for line, (number, name) in zip(typos, expected, strict=True):
        assert re.match(rf'typos\.py:{number}: error: .*has no attribute "{name}"', line), line
