"""The house: imports only point down, read off the syntax trees; and `import posezoo` loads little."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import fresh_process
import pytest

PACKAGE = Path(__file__).parents[1] / "posezoo"
FILES = sorted(PACKAGE.rglob("*.py"))
FACE = PACKAGE / "__init__.py"  # exports everything, lazily

# the floors of the house, from the ground up; a part imports only from the floors below, and from itself
FLOORS = (
    {"version", "arrays", "foreign", "writing", "progress"},
    {"skeletons", "geometry", "heatmaps", "losses", "images", "video"},
    {"refinement"},
    {"weights", "codecs"},
    {"viz", "layers", "arguments", "building", "inputs"},
    {"metrics", "people"},
    {"data"},
    {"backbones", "heads", "recurrent_pose", "spatial_model"},
    {"features", "prepared", "person_detector"},
    {"contract"},
    {"checkpoints"},
    {"export", "evaluate"},
    {"registry"},
    {"models"},
    {"detectors", "tracking"},
    {"crops", "poses3d"},
    {"prediction"},
    {"lifting"},
    {"convert", "catalogue", "completion", "mirror"},
    {"commands"},
    {"__main__"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

# parts that may import less than all floors below
MAY_IMPORT = {
    "losses": {"arrays"},  # for `explained`: their errors show the arguments, as those of the metrics do
    "weights": {"version", "foreign", "skeletons", "writing"},
    "layers": {"geometry"},
    "recurrent_pose": {"layers"},
    "spatial_model": {"layers"},
    "viz": {"arrays", "images", "skeletons", "writing"},
    "people": {"images", "skeletons", "viz", "writing"},
    "metrics": {"arrays", "geometry", "skeletons"},
    "data": {"arrays", "foreign", "geometry", "images", "inputs", "skeletons", "video"},
    "backbones": {"layers", "weights"},
    "heads": {"codecs", "heatmaps", "layers"},
    "inputs": {"arrays", "geometry", "images"},
    "prepared": set(),
    "features": {"backbones"},
    "contract": {"codecs", "features", "geometry", "heads", "heatmaps", "layers", "prepared", "skeletons", "weights"},
    "checkpoints": {"foreign", "layers", "weights"},
    "export": {"arrays", "contract", "skeletons", "version", "weights", "writing"},
    "evaluate": {"data", "foreign", "metrics", "skeletons"},
    "arguments": {"foreign", "skeletons", "weights"},
    "building": {"foreign", "weights"},
    "registry": {
        "arrays",
        "arguments",
        "backbones",
        "building",
        "checkpoints",
        "contract",
        "features",
        "foreign",
        "skeletons",
        "weights",
    },
    "models": {
        "backbones",
        "contract",
        "geometry",
        "heads",
        "heatmaps",
        "layers",
        "recurrent_pose",
        "refinement",
        "registry",
        "spatial_model",
    },
    "refinement": {"skeletons"},
    "person_detector": {"layers", "weights"},
    "detectors": {"arrays", "foreign", "geometry", "images", "person_detector"},
    "video": {"arrays", "writing"},
    "tracking": {"arrays", "data", "geometry", "metrics", "people"},
    "crops": {"detectors", "features", "geometry", "images", "inputs", "people", "prepared", "skeletons", "video"},
    "prediction": {
        "arrays",
        "crops",
        "detectors",
        "images",
        "people",
        "progress",
        "registry",
        "tracking",
        "video",
        "weights",
    },
    "poses3d": {"data", "images", "progress", "skeletons", "video", "viz", "writing"},
    "lifting": {
        "arrays",
        "contract",
        "crops",
        "data",
        "detectors",
        "features",
        "geometry",
        "images",
        "people",
        "poses3d",
        "prediction",
        "progress",
        "skeletons",
        "video",
    },
    "catalogue": {"arrays", "registry", "weights"},
    "mirror": {"arrays", "registry", "weights"},
    "completion": set(),
    "convert": {"checkpoints", "registry", "weights", "writing"},
}
FORBIDDEN_FILES = {"utils.py", "common.py", "helpers.py", "base.py"}
FORBIDDEN_PACKAGES = ("examples", "tools", "benchmarks", "tests", "cv2", "torchvision", "albumentations")
HEAVY = ("timm", "torchvision", "huggingface_hub", "PIL", "safetensors")
MAX_LINES = 700


def name_of(path):
    return str(path.relative_to(PACKAGE))


def part_of(module):
    """`weights` for `posezoo.weights.record`, "" for `posezoo` itself."""
    return module.partition(".")[2].partition(".")[0]


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@functools.cache
def imports_of(path):
    """Modules and names that a file imports anywhere, in functions and for type checkers as well."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.append((submodule, "") if submodule in MODULES else (node.module, alias.name))
    return found


def ours(path):
    return [(module, name) for module, name in imports_of(path) if module.partition(".")[0] == "posezoo"]


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=name_of)


@each([path for path in FILES if path != FACE])
def test_imports_point_down(path):
    part = part_of(module_of(path))
    assert part in FLOOR, f"{name_of(path)} has no floor; add its part to FLOORS"
    for module, _ in ours(path):
        imported = part_of(module)
        if part == "__main__" or imported == part:
            continue
        assert imported, f"{name_of(path)} imports the package's face; import the module that defines the name"
        assert imported in FLOOR, f"{name_of(path)} imports {module}, which has no floor"
        assert FLOOR[imported] < FLOOR[part], f"{name_of(path)} imports {module}, upwards"
        assert imported in MAY_IMPORT.get(part, FLOOR), f"{name_of(path)} imports {module}"


@each(FILES)
def test_no_underscored_name_crosses_a_file(path):
    for module, name in ours(path):
        private = [part for part in (*module.split("."), name) if part.startswith("_") and not part.endswith("__")]
        assert not private, f"{name_of(path)} imports {'.'.join(private)} of {module}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = set()  # names that stand for modules of ours
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name.partition(".")[0] for alias in node.names if "posezoo" in alias.name}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {alias.asname or alias.name for alias in node.names if f"{node.module}.{alias.name}" in MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            used = isinstance(root, ast.Name) and root.id in aliases
            assert not used, f"{name_of(path)}, line {node.lineno}, uses {ast.unparse(node)}"


@each(FILES)
def test_the_package_needs_neither_examples_nor_tools(path):
    tops = {module.partition(".")[0] for module, _ in imports_of(path)}
    assert not tops & set(FORBIDDEN_PACKAGES)


@each([path for path in FILES if path.parent.name == "models"])
def test_a_model_imports_no_other(path):
    assert not [module for module, _ in ours(path) if part_of(module) == "models"]


def test_there_are_no_circles():
    graph = {
        module: {imported for imported, _ in ours(path) if imported in MODULES and imported != module}
        for module, path in MODULES.items()
        if path != FACE
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, with the circle


def test_every_floor_and_rule_is_for_a_part_that_exists():
    parts = {part_of(module) for module in MODULES if module != "posezoo"}
    assert set(MAY_IMPORT) <= parts
    assert set(FLOOR) <= parts


@each(FILES)
def test_a_file_is_one_subject(path):
    assert path.name not in FORBIDDEN_FILES, "name it after its subject"
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines; split it by subject"


def test_import_is_lazy():
    """`import posezoo` loads no module of its own but the version, and no heavy package."""
    program = "import sys, posezoo; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if name.startswith("posezoo")} == {"posezoo", "posezoo.version"}
    assert not {"torch", *HEAVY} & set(loaded)


def test_listing_models_imports_no_timm():
    fresh_process.run(
        f"import sys, posezoo; posezoo.list_models(); assert not set({HEAVY}) & set(sys.modules), sorted(sys.modules)"
    )


def test_every_public_name_resolves():
    fresh_process.run(
        "import posezoo; [getattr(posezoo, name) for name in posezoo.__all__]; assert 'create' in dir(posezoo)"
    )
