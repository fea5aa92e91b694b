"""The queue of all trainings and the cards of the weights list commands that the scripts understand; the queue skips
what is done and stops at a failure.
"""

import argparse
import os
import re
import subprocess
from pathlib import Path

import pytest
from running_examples import load_example

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "train_all.sh"
CARDS = sorted((ROOT / "posezoo" / "pretrained").glob("*/README.md"))


def queue(tmp_path, *steps, **environment):
    settings = {"LSPET": "lspet", "BODY": "body", "MOTIONS": "a.zip b.zip", "OUT": str(tmp_path / "runs")}
    return subprocess.run(
        ["bash", str(SCRIPT), *steps], env={**os.environ, **settings, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


class Parsed(Exception):
    """Raised in place of a training."""


def parse(command, monkeypatch):
    """Load the script of a command, and give its parser the arguments: an unknown one ends the test."""
    script, *arguments = command
    original = argparse.ArgumentParser.parse_args

    def parse_only(parser, given):
        original(parser, given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    with pytest.raises(Parsed):
        load_example(f"../{script.removesuffix('.py')}").main(arguments)


STEPS = 20


@pytest.mark.parametrize("step", range(STEPS))
def test_the_scripts_understand_the_queue(step, lspet, tmp_path, monkeypatch):
    done = queue(tmp_path, RUN="echo", PYTHON="echo", LSPET=str(lspet))
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    assert len(commands) == STEPS
    parse(commands[step].split(), monkeypatch)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_the_scripts_understand_the_commands_of_the_cards(card, lspet, monkeypatch):
    monkeypatch.chdir(lspet.parent)  # its folder is called lspet, as on the cards
    text = card.read_text(encoding="utf-8")
    for section in ("Use", "Metrics", "Limits", "Training"):
        assert f"\n## {section}\n" in text
    assert "Licence of the weights: " in text
    assert "mean" in text
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (card.parent / picture).is_file()
    code = text.partition("\n## Training\n")[2].partition("```bash\n")[2].partition("```")[0].replace("\\\n", " ")
    shared = re.search(r'^options="(.*)"\n', code)
    commands = [line for line in code.splitlines() if not line.startswith("options=")]
    assert commands
    for line in commands:
        words = (line.replace("$options", shared[1]) if shared else line).split()
        parse(words[next(at for at, word in enumerate(words) if word.endswith(".py")) :], monkeypatch)


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
