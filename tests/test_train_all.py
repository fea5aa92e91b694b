"""The queue of all trainings and the cards of the weights list commands that the scripts understand; the queue skips
what is done and stops at a failure.
"""

import argparse
import functools
import os
import re
import subprocess
from pathlib import Path

import pytest
from running_examples import load_example

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "train_all.sh"


def queue(tmp_path, *steps, **environment):
    settings = {"LSPET": "lspet", "BODY": "body", "MOTIONS": "a.zip b.zip", "OUT": str(tmp_path / "runs")}
    return subprocess.run(
        ["bash", str(SCRIPT), *steps], env={**os.environ, **settings, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


class Parsed(Exception):
    """Raised in place of a training."""


@pytest.fixture
def parse(monkeypatch, lspet):
    """Give the arguments of a command to the parser of its script; an unknown one exits."""
    original = argparse.ArgumentParser.parse_args

    def parse_only(parser, given):
        original(parser, given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.chdir(lspet.parent)
    load = functools.cache(load_example)

    def parse(script, *arguments):
        with pytest.raises(Parsed):
            load(f"../{script.removesuffix('.py')}").main(list(arguments))

    return parse


def test_the_scripts_understand_the_queue(lspet, tmp_path, parse):
    done = queue(tmp_path, RUN="echo", PYTHON="echo", LSPET=str(lspet))
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    steps = re.search(r"STEPS=\((.*?)\)", SCRIPT.read_text(), flags=re.DOTALL)[1].split()
    assert len(commands) == len(steps)
    for command in commands:
        parse(*command.split())


def test_the_scripts_understand_the_commands_of_the_cards(parse):
    for card in sorted((ROOT / "posezoo" / "pretrained").glob("*/README.md")):
        text = card.read_text(encoding="utf-8")
        for part in (
            "\n## Use\n",
            "\n## Metrics\n",
            "\n## Limits\n",
            "\n## Training\n",
            "Licence of the weights: ",
            "mean",
        ):
            assert part in text, card
        for picture in re.findall(r"!\[.*\]\((.*)\)", text):
            assert (card.parent / picture).is_file()
        code = re.search(r"\n## Training\n.*?```bash\n(.*?)```", text, flags=re.DOTALL)[1].replace("\\\n", " ")
        options = re.search(r'^options="(.*)"\n', code)
        lines = code[options.end() :] if options else code
        for line in lines.splitlines():
            words = line.replace("$options", options[1] if options else "").split()
            for start in [at for at, word in enumerate(words) if word.endswith(".py")]:
                parse(*words[start:])


def test_finished_steps_are_skipped_and_a_failure_ends_the_queue(tmp_path):
    done = queue(tmp_path, "ief", "hourglass_1", RUN="true", PYTHON="true")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "runs" / "log.txt").read_text()
    assert [line.split(" ", 2)[2].rstrip() for line in log.splitlines()] == [
        "ief: start", "ief: done", "hourglass_1: start", "hourglass_1: done",
    ]  # fmt: skip
    done = queue(tmp_path, "ief", "cpm_vgg_6s", "hrnet_w18", RUN="true", PYTHON="false")
    assert done.returncode == 1
    more = (tmp_path / "runs" / "log.txt").read_text().removeprefix(log)
    assert "cpm_vgg_6s: failed" in more
    assert "ief" not in more
    assert "hrnet" not in more
    assert queue(tmp_path, "nonsense").returncode == 2
