"""The examples in the docstrings run and print their documented output."""

import ast
import doctest
import importlib
import importlib.util
import pkgutil
import re
import tempfile
from pathlib import Path

import pytest
from toy import scratch_registry

import posezoo
from posezoo.registry import get_pretrained_cfg
from posezoo.weights import WeightsNotFoundError, find

MODULES = ["posezoo", *(module.name for module in pkgutil.walk_packages(posezoo.__path__, "posezoo."))]
# module -> package that its examples need and posezoo does not bring
OPTIONAL = {
    "posezoo.data.lsp": "scipy",
    "posezoo.data.flic": "scipy",
    "posezoo.data.image_parse": "scipy",
    "posezoo.video": "av",
}


def skip_what_is_absent(name: str) -> None:
    package = OPTIONAL.get(name)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"the examples of {name} need the package {package}")
    if name == "posezoo.prediction":
        model = importlib.import_module("posezoo.prediction").DEFAULT_MODEL
        record = get_pretrained_cfg(model) if posezoo.is_model(model) else None
        try:
            if record is None:
                raise WeightsNotFoundError(f"{model} has no weights record")
            find(record)
        except WeightsNotFoundError as error:
            pytest.skip(f"the example of posezoo.predict needs the default model's weights: {error}")


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    skip_what_is_absent(name)
    module = importlib.import_module(name)
    with scratch_registry(), tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)  # what examples write goes with it
        outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples failed; see the output above"


# in a docstring: a row of a table, of shapes or of the lines of a file (columns two spaces apart), an example
ROW_OR_EXAMPLE = re.compile(r"\s*(\||>>>|\.\.\. )|.*\S {2,}\S")


def long_lines(source: str) -> list[str]:
    """Docstring lines over 100 columns; rows of tables, examples and their output over 120."""
    lines, long = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or ast.get_docstring(node) is None:
            continue
        output = False  # between an example and the next empty line
        for line in lines[node.body[0].lineno - 1 : node.body[0].end_lineno]:
            output = bool(line.strip()) and (output or line.lstrip().startswith(">>>"))
            if len(line) > (120 if output or ROW_OR_EXAMPLE.match(line) else 100):
                long.append(line)
    return long


def test_docstrings_have_short_lines():
    sources = {path: path.read_text(encoding="utf-8") for path in Path(posezoo.__path__[0]).rglob("*.py")}
    assert {path: lines for path, source in sources.items() if (lines := long_lines(source))} == {}


def test_long_lines_of_prose_are_found():
    prose = "word " * 20
    source = f'"""{prose}\n\n| {prose}\n\n>>> f()\n{prose}\n\n{prose}\n"""'
    assert long_lines(source) == [f'"""{prose}']
    assert len(long_lines(source.replace(prose, 2 * prose))) == 4
