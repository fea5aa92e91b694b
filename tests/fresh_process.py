"""Run Python in processes of their own.

Each is forked from a server that has imported torch, the longest part of every start, and nothing
else: posezoo and the other packages are imported anew, with the environment that is given.
"""

import contextlib
import io
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
CONTEXT.set_forkserver_preload(["torch"])
TIMEOUT = 300  # seconds


class Program:
    """A running program: a script, or a `Path` of a file."""

    def __init__(self, script, *arguments, environment=None, folder="."):
        self._receiver, sender = CONTEXT.Pipe(duplex=False)
        program = script if isinstance(script, Path) else textwrap.dedent(script)
        variables = dict(os.environ) if environment is None else environment
        words = [str(word) for word in arguments]
        self._process = CONTEXT.Process(target=_execute, args=(sender, program, words, variables, str(folder)))
        self._process.start()
        sender.close()

    def finish(self):
        """Return the standard output; an error of the program is the test's."""
        try:
            if not self._receiver.poll(TIMEOUT):
                self.kill()
                raise AssertionError(f"the program did not end within {TIMEOUT} seconds")
            output, error = self._receiver.recv()
        except EOFError:
            output, error = "", "the process ended without a result"
        self._process.join()
        assert not error, error
        return output

    def kill(self):
        self._process.kill()
        self._process.join()


def run(script, *arguments, environment=None, folder="."):
    """Run a program to its end; return its standard output."""
    return Program(script, *arguments, environment=environment, folder=folder).finish()


def run_distributed(processes, program, *arguments):
    """Run a file in several processes that find each other, as torchrun starts them; all output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    everyone = {**os.environ, "ACCELERATE_USE_CPU": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    everyone |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {} for rank in range(processes)]
    if processes == 1:
        everyone = {**os.environ, "ACCELERATE_USE_CPU": "1"}
    running = [Program(Path(program), *arguments, environment=everyone | rank) for rank in ranks]
    return "".join(process.finish() for process in running)


def launch(*arguments):
    """Run a file and its arguments in two processes by `accelerate launch` on CPUs; all output."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--main_process_port", "0"]  # 0: a free one
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    options = {"env": environment, "capture_output": True, "text": True, "check": False, "timeout": 4 * TIMEOUT}
    with tempfile.TemporaryDirectory() as logs:
        command += ["--log_dir", logs, "--tee", "3", *map(str, arguments)]
        done = subprocess.run(command, **options)
        assert done.returncode == 0, done.stderr
        assert sorted(rank.name for rank in Path(logs).glob("*/attempt_0/*")) == ["0", "1"]
    return done.stdout


def _execute(sender, program, words, environment, folder):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(program) if isinstance(program, Path) else "-c", *words]
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    output, error = io.StringIO(), ""
    with contextlib.redirect_stdout(output):
        try:
            if isinstance(program, Path):
                sys.path.insert(0, str(program.parent))
                runpy.run_path(str(program), run_name="__main__")
            else:
                exec(compile(program, "<script>", "exec"), {"__name__": "__main__"})
        except BaseException as failure:
            if not isinstance(failure, SystemExit) or failure.code:
                error = traceback.format_exc()
    sender.send((output.getvalue(), error))
