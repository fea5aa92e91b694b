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
SCRIPTS = sorted({row.command.split()[0] for row in ROWS if row.command.startswith("examples")})


def test_all_statements_are_there():
    assert [len(rows) for rows in PAPERS.PAPERS.values()] == [18, 29, 19, 23, 23]
    assert (ROOT / "docs" / "papers.md").read_text(encoding="utf-8") == PAPERS.page()


@pytest.mark.parametrize("place", sorted({row.place for row in ROWS}))
def test_places_exist(place):
    file, _, name = place.partition(":")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(?:class |def )?{name}\b|^[A-Z_]+(?:, [A-Z_]+)*, {name}\b|^{name}, ", text, flags=re.MULTILINE)


def options_of(script, monkeypatch):
    """Options of a script, as its parser has them."""
    found = []
    real = argparse.ArgumentParser.parse_known_args

    def stop(parser, *arguments, **more):
        found.extend(option for action in parser._actions for option in action.option_strings)
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    with pytest.raises(KeyboardInterrupt):
        load_example(script).main([])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", real)
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_options_exist(script, monkeypatch):
    known = options_of(Path(script).stem, monkeypatch)
    for row in ROWS:
        if row.command.startswith(f"{script} "):
            assert {word for word in shlex.split(row.command) if word.startswith("--")} <= set(known), row.command


def test_commands_of_the_package_are_understood():
    for row in ROWS:
        if row.command.startswith("posezoo "):
            options = command_line().parse_args(shlex.split(row.command)[1:])
            assert options.protocol is None or options.protocol in PROTOCOLS
