"""Commands as a user types them, `python -m cdeval.run …`, on a tiny checkpoint and three texts.

Each command is a process of its own: own working folder, own environment, own exit code. The processes are forked from
a server that has imported torch, transformers and cdeval once, because these imports are nine tenths of what a small
command takes. A test of imports, signals or installation starts Python itself.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

TEXTS = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river. " * 3,
    "Researchers said on Monday that the results of the study were not yet clear to them at all. " * 3,
    "A small model writes what a large model would rather not say, and that is the whole point. " * 3,
]
SMALL = ["search.max_new_tokens=8", "metrics.bootstrap_draws=100", "cost.latency_repeats=0", "amateur.layer=6"]

_IMPORTED_ONCE = ["cdeval.study", "cdeval.scoring", "cdeval.comparing", "sentence_transformers", "wandb"]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(_IMPORTED_ONCE)


def typed(
    module: str, arguments: Sequence[str], cwd: Path, *, file_size: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments…` in a folder, with more environment variables; a file may hold `file_size` bytes."""
    variables = {**os.environ, "COLUMNS": "100", **environment}
    with TemporaryDirectory() as folder:
        outputs = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = _SERVER.Process(target=_run, args=(module, list(arguments), cwd, variables, outputs, file_size))
        process.start()
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
            process.join()
        stdout, stderr = (Path(name).read_text(encoding="utf-8", errors="replace") for name in outputs)
    assert process.exitcode is not None
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, stdout, stderr)


def _run(
    module: str, arguments: list[str], cwd: Path, variables: dict[str, str], outputs: list[str], file_size: int | None
) -> None:
    """The command in its own process, which ends here with the command's exit code."""
    for descriptor, name in enumerate([os.devnull, *outputs]):
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path[0] = str(cwd)
    sys.argv = [module, *arguments]
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))


def cdeval(arguments: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cdeval.run` in a folder of its own."""
    return typed("cdeval.run", arguments, cwd, **environment)


def on(folder: Path, prompts: Path, *more: str) -> list[str]:
    return [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", *SMALL, *more]


def folders(study: Path) -> dict[str, Path]:
    return {path.parent.name.split("-")[0]: path.parent for path in study.glob("*/generations.jsonl")}
