"""The examples in the docstrings run and print their documented output."""

import doctest
import importlib
import importlib.util
import pkgutil
import tempfile

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
