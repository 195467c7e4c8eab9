"""`python -m cdeval.run` in a process that can be killed, forked from one that has imported everything already."""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["cdeval.study", "cdeval.run", "tests.survivors"])


def start(arguments: Sequence[str], cwd: Path, name: str = "log", largest_file: int | None = None) -> ForkServerProcess:
    """Begin the command in a folder of its own; what it prints goes to files there.

    Args:
        arguments: of the command line.
        cwd: the folder.
        name: of the files.
        largest_file: beyond which the kernel refuses to let a file grow, as a full disk does [bytes].
    """
    process = _FORKS.Process(target=_run, args=(list(arguments), str(cwd), name, largest_file))
    process.start()
    return process


def log(cwd: Path, name: str = "log") -> str:
    return (cwd / f"{name}.err").read_text()


def _run(arguments: list[str], cwd: str, name: str, largest_file: int | None) -> None:
    from cdeval.cli import run_command
    from cdeval.run import run

    os.chdir(cwd)
    for descriptor, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = ["cdeval.run", *arguments]
    run_command(run)
