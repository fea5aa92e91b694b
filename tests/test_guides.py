"""The code of the guides and of the notebooks runs."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# a page that is not run, and why
NOT_RUN = {
    "README": "run by test_docs.py",
    "coordinates": "run by test_docs.py",
    "inside_your_code": "run by test_inside_your_code.py",
    "video": "run by test_video.py",
    "add_a_model": "a sketch of a class",
    "detectors": "needs a detector's file",
    "lifting": "its blocks stand in test_lifting.py, with frames",
}
# slower than a few seconds each
SLOW = {
    "checkpoints", "drawing", "evaluating", "fine_tuning", "offline", "own_keypoints", "publishing", "quickstart",
    "rpsm_from_video", "troubleshooting",
}  # fmt: skip
# files of the reader, copies of a photograph
PHOTOGRAPHS = {"quickstart": ("photo", "a", "b", "frame1", "frame2", *(f"frames/{number}" for number in range(5)))}

# in place of published files
FILES = {
    "checkpoints": "import torch, posezoo\n"
    "for name in ('pose_hrnet_w32_256x192', 'mine'):\n"
    "    torch.save(posezoo.create('hrnet_w32').state_dict(), f'{name}.pth')\n"
}


def marked(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


def blocks(page):
    """The Python blocks of a page, those in tabs too."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, flags=re.DOTALL | re.M)]


def absent(block):
    """The packages that a block imports and that are not installed."""
    names = {
        name
        for node in ast.walk(ast.parse(block))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    return sorted(name for name in {name.partition(".")[0] for name in names} if importlib.util.find_spec(name) is None)


def run(code, folder):
    for name in ("docs", "posezoo", "examples"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr}\n{code}"
    return done.stdout


PAGES = [page.stem for page in sorted((ROOT / "docs").glob("*.md"))]
RUN = [page for page in PAGES if page not in NOT_RUN and blocks(page)]


def test_every_reason_is_needed():
    assert {page for page in NOT_RUN if page != "README"} <= set(PAGES)
    assert set(SLOW) <= set(RUN)


@pytest.mark.parametrize("page", marked(RUN, SLOW))
def test_the_code_of_a_guide_runs(page, tmp_path):
    for name in PHOTOGRAPHS.get(page, ()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / "images" / "street.jpg", tmp_path / f"{name}.jpg")
    found = blocks(page)
    missing = {index: absent(block) for index, block in enumerate(found)}
    run(FILES.get(page, "") + "\n".join(block for index, block in enumerate(found) if not missing[index]), tmp_path)
    lacking = sorted({name for names in missing.values() for name in names})
    if lacking:
        pytest.skip(f"the blocks of {page}.md with these packages were left out, which are not installed: {lacking}")


# pages of networks with weights in the package: they have a picture of their input
NETWORKS = [
    f"models/{page.stem}"
    for page in sorted((ROOT / "docs" / "models").glob("*.md"))
    if "images/networks/input_" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", marked(NETWORKS, {*NETWORKS} - {"models/martinez"}))
def test_the_code_of_a_network_with_weights_runs(page, tmp_path):
    (code,) = blocks(page)
    shapes = re.findall(r"^inputs = .*# (\(.*\))$", code, flags=re.MULTILINE)
    assert run(f"{code}\nprint(tuple(inputs.shape))", tmp_path).split("\n")[-2:] == [*shapes, ""]


NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_output(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert f"`{path.name}`" in (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    run("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"), tmp_path)
