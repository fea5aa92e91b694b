"""Who may import whom, read off the syntax trees, and what `import posezoo` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "posezoo"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

# part of the package -> the parts it may import; what is not listed may import anything of ours
MAY_IMPORT = {
    "models": {"models", "layers", "geometry", "heatmaps", "registry"},
    "losses": set(),
    "metrics": {"metrics", "geometry", "skeletons"},
    "data": {"data", "geometry", "images", "skeletons"},
    "geometry": set(),
    "heatmaps": set(),
    "skeletons": set(),
    "layers": {"geometry", "heatmaps", "skeletons", "weights"},
    "images": set(),
    "writing": set(),
    "progress": set(),
    "viz": {"images", "skeletons", "writing"},
    "people": {"images", "skeletons", "viz", "writing"},
    "prediction": {"geometry", "images", "people", "progress", "registry", "skeletons", "detectors"},
    "detectors": {"geometry", "images"},
    "lifting": {"data", "images", "people", "prediction", "progress", "skeletons", "viz"},
    "evaluate": {"metrics", "skeletons"},
    "catalogue": {"registry"},
    "completion": set(),
}
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "base.py"}
HEAVY = ("timm", "torchvision", "huggingface_hub", "PIL")


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Full names of the modules a file imports, at the top or anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            if node.module == "posezoo":
                yield from ((f"posezoo.{alias.name}", node) for alias in node.names)
            else:
                yield node.module, node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_house_rules(path):
    part = part_of(path)
    for name, _ in imports_of(path):
        top, _, rest = name.partition(".")
        assert top not in ("examples", "benchmarks", "tests"), f"{path} imports {name}"
        assert top not in ("cv2", "torchvision", "albumentations"), f"{path} imports {name}"
        if top == "posezoo" and part in MAY_IMPORT:
            imported = rest.partition(".")[0]
            assert imported in MAY_IMPORT[part], f"{path} imports {name}"
        if name.startswith("posezoo.models.") and part == "models":
            raise AssertionError(f"{path} imports another model's file, {name}")


def test_no_drawer_for_odds_and_ends():
    assert not [path for path in FILES if path.name in FORBIDDEN_NAMES]


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_lazy():
    """Nothing heavy, and little time: the median of five imports on top of torch, in fresh interpreters."""
    run(f"import sys, posezoo; assert not [m for m in {HEAVY} if m in sys.modules], sorted(sys.modules)")
    program = "import time, torch; t = time.perf_counter(); import posezoo; print(time.perf_counter() - t)"
    assert sorted(float(run(program)) for _ in range(3))[1] < 0.15


def test_listing_models_imports_no_timm():
    run("import sys, posezoo; posezoo.list_models(); assert 'timm' not in sys.modules and 'PIL' not in sys.modules")


def test_every_public_name_resolves():
    run("import posezoo; [getattr(posezoo, name) for name in posezoo.__all__]; assert 'create' in dir(posezoo)")
