"""The queue of all trainings lists commands that its scripts understand, skips what is done and
stops at a failure.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "train_all.sh"


def queue(tmp_path, *steps, **environment):
    settings = {"LSPET": "lspet", "BODY": "body", "MOTIONS": "a.zip b.zip", "OUT": str(tmp_path / "runs")}
    return subprocess.run(
        ["bash", str(SCRIPT), *steps], env={**os.environ, **settings, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("line", range(13))
def test_options_exist(tmp_path, line):
    done = queue(tmp_path, RUN="echo", PYTHON="echo")
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    assert len(commands) == 13
    script, *arguments = commands[line].split()
    shared = ["training.py", "frozen_backbone.py", "teaching.py"] if script.startswith("examples") else []
    sources = [(ROOT / script).read_text(), *((ROOT / "examples" / name).read_text() for name in shared)]
    known = set(re.findall(r'"(--[\w-]+)"', "".join(sources)))
    assert {argument for argument in arguments if argument.startswith("--")} <= known


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
