"""Commands as a user types them, `python -m cdeval.run …`, on a tiny checkpoint and three texts.

Each command is a process of its own: own working folder, own environment, own exit code. The processes are forked from
a server that has imported torch, transformers and cdeval once, because these imports are nine tenths of what a small
command takes. A test of imports, signals or installation starts Python itself.
"""

import atexit
import importlib
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cdeval.store import progress

TEXTS = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river. " * 3,
    "Researchers said on Monday that the results of the study were not yet clear to them at all. " * 3,
    "A small model writes what a large model would rather not say, and that is the whole point. " * 3,
]
# Through the final norm, because a linear lens would be fitted to texts from the network first.
EXIT = ["amateur.lens=norm", "amateur.layer=6"]
# Scored by what needs no model and mirrored nowhere: the embedder's and W&B's beginnings take longer than all the rest.
CHEAP = ["search.max_new_tokens=8", "metrics.bootstrap_draws=100", "cost.latency_repeats=0"]
CHEAP += ["metrics.only=[words,diversity]", "tracking=none"]
SMALL = [*CHEAP, *EXIT]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["cdeval.study.pipeline", "cdeval.score.pipeline", "sentence_transformers"])


def typed(
    module: str, arguments: Sequence[str], cwd: Path, *, largest_file: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments…`, or `python file.py arguments…`, in a folder, with more environment variables."""
    with TemporaryDirectory() as folder:
        log = Path(folder, "log")
        process = start(arguments, cwd, log, module=module, largest_file=largest_file, **environment)
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
            process.join()
        stdout, stderr = (log.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
    assert process.exitcode is not None
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, stdout, stderr)


def start(
    arguments: Sequence[str],
    cwd: Path,
    log: Path,
    *,
    module: str = "cdeval.run",
    largest_file: int | None = None,
    **environment: str,
) -> ForkServerProcess:
    """Begin a command, in a process that can be killed.

    Args:
        arguments: of the command line.
        cwd: the working folder.
        log: what is printed goes to this path with `.out` and `.err` behind it.
        module: of the command, or the file of a program, which ends with .py.
        largest_file: beyond which the kernel refuses to let a file grow, as a full disk does [bytes].
        environment: variables beside the present ones.
    """
    variables = {**os.environ, "COLUMNS": "100", **environment}
    process = _SERVER.Process(target=_run, args=(module, list(arguments), cwd, variables, log, largest_file))
    process.start()
    return process


def _run(
    module: str, arguments: list[str], cwd: Path, variables: dict[str, str], log: Path, largest_file: int | None
) -> None:
    """The command in its own process, which ends here with the command's exit code."""
    for descriptor, name in enumerate([os.devnull, log.with_suffix(".out"), log.with_suffix(".err")]):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    progress._SOON = 60.0  # what a slow machine adds to what is printed would fail tests now and then
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path[0] = str(cwd)
    sys.argv = [module, *arguments]
    code: object = 0
    try:
        if module.endswith(".py"):
            sys.path[0] = str(Path(module).parent.absolute())
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # what an interpreter does at its end, in its order
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))


def cdeval(arguments: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cdeval.run` in a folder of its own."""
    return typed("cdeval.run", arguments, cwd, **environment)


# By command: what its `__main__` runs, and the schema and the check of its settings.
TASKS = {
    "calibrate": ("calibrate", "CalibrateRun", "validate_calibration"),
    "dashboard": ("dashboard", "DashboardRun", "validate_dashboard"),
    "export": ("export", "ExportRun", "validate_export"),
    "judge": ("judge", "JudgeRun", "validate_judge"),
    "lens": ("lens", "LensRun", "validate_lens"),
    "merge": ("merge", "MergeConfig", "validate_merge"),
    "report": ("report", "ReportRun", "validate_report"),
    "score": ("score", "ScoreConfig", "validate_score"),
    "tasks": ("tasks", "TasksRun", "validate_tasks"),
    "trace": ("trace", "TraceRun", "validate_trace"),
    "tune": ("tune", "TuneRun", "validate_tune"),
}


def run_main(command: str) -> None:
    """Run a command in this process, where a test can replace parts, with the arguments in `sys.argv`."""
    # Not at the top: a forked command that imports this file would warn that its own module is there already.
    from cdeval.cli import Schema, run_command, run_schema

    if command == "run":
        run_command(importlib.import_module("cdeval.run").run)
        return
    package = importlib.import_module(f"cdeval.{command}")
    module = importlib.import_module(f"cdeval.{command}.__main__") if hasattr(package, "__path__") else package
    task, root, check = (getattr(module, name) for name in TASKS[command])
    run_schema(task, Schema(root, check, composes=command in ("tasks", "tune")), command)


def run_here(
    arguments: Sequence[str], cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """`python -m cdeval.run` in this process, where a test can replace parts: exit code, stdout and stderr."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["cdeval.run", *arguments])
    code = 0
    try:
        run_main("run")
    except SystemExit as stopped:
        code = int(str(stopped.code))
    return code, *capsys.readouterr()


def on(folder: Path, prompts: Path, *more: str) -> list[str]:
    return [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", *SMALL, *more]


def folders(study: Path) -> dict[str, Path]:
    return {path.parent.name.split("-")[0]: path.parent for path in study.glob("*/generations.jsonl")}
