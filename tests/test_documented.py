"""Every public name is documented: a sentence, and an example that the tests run.

The names of `__all__` and of the modules without one that users import from. What the networks are
built of has its documentation on the pages of the networks.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "posezoo"
PACKAGES = ("data", "geometry", "metrics", "skeletons", "weights")
MODULES = (
    "losses", "heatmaps", "codecs", "viz", "tracking", "images", "people", "lifting", "poses3d", "refinement", "export",
    "convert",
)  # fmt: skip
# public name -> why it has no example
WITHOUT_EXAMPLE = {
    "data.ClipCrop": "its input is a folder of rendered clips; run by tests/data",
    "data.CroppedClips": "its input is a folder of rendered clips; run by tests/data",
    "data.Human36M": "its files are gigabytes, under a licence to be signed",
    "data.HumanEva": "its files are gigabytes, under a licence to be signed",
    "metrics.CocoResult": "the result of coco_ap, whose example shows it",
    "metrics.Protocol": "the rows of PROTOCOLS, which human36m's example names",
    "weights.WeightsNotFoundError": "find's example raises it",
    "weights.complete": "its input is a file without its base; run by test_weights_shared.py",
    "weights.read_shared": "its input is published weights; run by test_weights_shared.py",
    "weights.fit": "load_state_dict's example shows it",
    "poses3d.Poses3D": "the result of lift, whose example shows it",
    "export.Exported": "the result of to_onnx, whose example shows it",
    "convert.Conversion": "the result of convert_file, whose example shows it",
}

METHODS_WITHOUT_EXAMPLE = {
    "forward_head": "a network's own; the base class refuses",
    "push_to_hub": "needs an account",
    "save_pretrained": "posezoo.save_pretrained's example shows it",
    "set_keypoints": "called by constructors and reset_head",
}


def definitions(path):
    """Public functions and classes of a file, the last of overloads."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: node for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")}


def imported(package):
    """The names that a package imports from its modules: name -> file."""
    found = {}
    for node in ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("posezoo."):
            place = PACKAGE.parent / (node.module or "").replace(".", "/")
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            found |= {alias.name: file for alias in node.names}
    return found


def entry_points():
    """The names that `posezoo` exports: name -> file."""
    nodes = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    table = next(node.value for node in nodes if isinstance(node, ast.Assign) and node.targets[0].id == "_EXPORTS")
    return dict(ast.literal_eval(table))


def public():
    found = {}
    for package in PACKAGES:
        for name, file in imported(package).items():
            node = definitions(file).get(name)
            if node is not None:
                found[f"{package}.{name}"] = node
    for module in MODULES:
        found |= {f"{module}.{name}": node for name, node in definitions(PACKAGE / f"{module}.py").items()}
    for name, home in entry_points().items():
        if home not in PACKAGES:
            found[f"{home}.{name}"] = definitions(PACKAGE / f"{home}.py").get(name)
    return {name: node for name, node in found.items() if node is not None}


PUBLIC = public()


def test_the_names_are_found():
    assert len(PUBLIC) > 150
    assert set(WITHOUT_EXAMPLE) <= set(PUBLIC)


@pytest.mark.parametrize("what", ["sentence", "example"])
def test_every_public_name_is_documented(what):
    texts = {name: ast.get_docstring(node) or "" for name, node in PUBLIC.items()}
    if what == "sentence":
        assert [name for name, text in texts.items() if not text] == []
    else:
        without = [name for name, text in texts.items() if "Examples:\n" not in text or ">>> " not in text]
        assert sorted(without) == sorted(WITHOUT_EXAMPLE)


def test_every_function_and_class_of_the_api_pages_has_a_sentence():
    """Those that modules export too, and the parts of networks: 100 %."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    nodes = {f"{path.relative_to(PACKAGE)}: {name}": node for path in files for name, node in definitions(path).items()}
    assert len(nodes) > 600
    assert [name for name, node in nodes.items() if not ast.get_docstring(node)] == []


def test_the_methods_of_the_base_class_are_documented():
    base = definitions(PACKAGE / "contract.py")["PoseModel"]
    methods = {node.name: node for node in base.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
    assert len(methods) >= 10
    assert [name for name, node in methods.items() if not ast.get_docstring(node)] == []
    shown = (ast.get_docstring(base) or "").partition("Examples:\n")[2]  # an example of several methods
    without = {name for name, node in methods.items() if name not in shown and ">>> " not in ast.get_docstring(node)}
    assert without == set(METHODS_WITHOUT_EXAMPLE)
