"""A program run alone, and then as two processes on the CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import posezoo


def launch(processes, program, *arguments):
    """Run a Python file, by torchrun if there is more than one process; its standard output."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    package = str(Path(posezoo.__file__).parents[1])  # the package under test, wherever it was imported from
    environment["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    launcher = []
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", port]
    done = subprocess.run(
        [sys.executable, *launcher, str(program), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
