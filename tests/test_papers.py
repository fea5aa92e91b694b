"""docs/papers.md: every place, script, option and protocol that it names exists."""

import argparse
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from running_examples import load_example

from posezoo.__main__ import command_line
from posezoo.metrics import PROTOCOLS

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAPERS = load("papers")
ROWS = [row for rows in PAPERS.PAPERS.values() for row in rows]
README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = [row.command.removeprefix("examples/") for row in ROWS if row.command.startswith("examples")]
COMMANDS += re.findall(r"`(?:torchrun --nproc_per_node 2 )?(\w+\.py [^`]+)`", README)
SCRIPTS = sorted({command.split()[0] for command in COMMANDS})


def test_all_statements_are_there():
    assert [len(rows) for rows in PAPERS.PAPERS.values()] == [18, 29, 19, 27, 24]
    assert (ROOT / "docs" / "papers.md").read_text(encoding="utf-8") == PAPERS.page()


@pytest.mark.parametrize("place", sorted({row.place for row in ROWS}))
def test_places_exist(place):
    file, _, name = place.partition(":")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(?:class |def )?{name}\b|^[A-Z_]+(?:, [A-Z_]+)*, {name}\b|^{name}, ", text, flags=re.MULTILINE)


class Parsed(BaseException):
    """A command line was accepted."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_are_understood(script, tmp_path, monkeypatch):
    """Those of docs/papers.md and of examples/README.md, up to the end of their command line."""
    pytest.importorskip({"predict_ray.py": "ray"}.get(script, "torch"))
    real, main = argparse.ArgumentParser.parse_args, load_example(Path(script).stem).main

    def stop(parser, *arguments, **more):
        real(parser, *arguments, **more)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    output = ["--output", str(tmp_path)] if script.startswith(("train_", "select_", "fine_tune_")) else []
    for command in COMMANDS:
        name, *words = shlex.split(command)
        if name == script:
            with pytest.raises(Parsed):
                main([*words, *output])


def test_commands_of_the_package_are_understood():
    for row in ROWS:
        if row.command.startswith("posezoo "):
            options = command_line().parse_args(shlex.split(row.command)[1:])
            assert options.protocol is None or options.protocol in PROTOCOLS
