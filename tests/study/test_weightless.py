"""Studies of costs alone, and timing in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from cdeval.cost.latency import Latency
from cdeval.cost.price import Timed
from cdeval.errors import ModelError
from cdeval.prompts.load import PromptSet
from cdeval.study import timing
from cdeval.study.timing import Timing, time_apart
from tests.commands import cdeval, folders

Passed = Callable[[], None]
NOTHING = Timing((), PromptSet((), "", 0, 0, 0, 0, None, 0, 0), {}, 1, 8, 1)


def dies(_timing: Timing, _passed: Passed) -> Timed:
    import os

    os._exit(9)


def refuses(_timing: Timing, _passed: Passed) -> Timed:
    raise ModelError("no such model")


def breaks(_timing: Timing, _passed: Passed) -> Timed:
    raise ZeroDivisionError("a bug")


def answers(timing: Timing, passed: Passed) -> Timed:
    for _ in range(3):
        passed()
    return Timed({"a": Latency(prefill_seconds=(0.5,) * timing.repeats)}, 1e9)


def test_a_process_of_its_own_answers_refuses_breaks_or_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: waiting for ever for a process that was killed for want of memory; a bug that looks like a mistake."""
    monkeypatch.setattr(timing, "FRESH", "forkserver")  # which has imported torch already
    heard: list[None] = []
    found = time_apart(NOTHING, answers, lambda: heard.append(None))
    assert found.latency["a"].prefill_seconds == (0.5,)
    assert len(heard) == 3, "it told of each pass"
    with pytest.raises(ModelError, match="no such model"):
        time_apart(NOTHING, refuses)
    with pytest.raises(ZeroDivisionError, match="a bug") as bug:
        time_apart(NOTHING, breaks)
    assert "in breaks" in str(bug.value.__cause__), "the process's own traceback"
    with pytest.raises(ModelError, match=r"ended before it was done.*cost\.isolated=false"):
        time_apart(NOTHING, dies)


def test_a_command_that_stops_waiting_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C or a job's end reaches the command while a pass may run for hours."""
    monkeypatch.setattr(timing, "FRESH", "forkserver")
    interrupt = threading.Thread(target=interrupt_once_it_runs, args=[tmp_path / "pid"])
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        time_apart(NOTHING, partial(sleeps, tmp_path / "pid"))
    interrupt.join()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.long
def test_a_process_ends_with_a_command_that_is_killed_before_it_has_loaded_anything(tmp_path: Path) -> None:
    """Kills: a watch that begins once torch is loaded, seconds after the command is gone."""
    script = "if __name__ == '__main__':\n    from tests.study.test_weightless import *\n    time_apart(NOTHING)\n"
    (tmp_path / "command.py").write_text(script)
    root = str(Path(__file__).parents[2])
    command = subprocess.Popen([sys.executable, tmp_path / "command.py"], env=os.environ | {"PYTHONPATH": root})
    parent = psutil.Process(command.pid)

    def timing_process() -> list[psutil.Process]:
        return [one for one in parent.children() if any("spawn_main" in word for word in one.cmdline())]

    wait_for(lambda: bool(timing_process()))
    (child,) = timing_process()
    command.kill()
    command.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=30)


def interrupt_once_it_runs(child: Path) -> None:
    wait_for(lambda: child.is_file() and child.read_text() != "")
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def sleeps(child: Path, timing: Timing, passed: Passed) -> Timed:
    """As long passes do; says first who it is."""
    child.write_text(str(os.getpid()))
    time.sleep(600)
    return answers(timing, passed)


def times_for_ever(child: str) -> None:
    time_apart(NOTHING, partial(sleeps, Path(child)))


@pytest.mark.long
def test_a_timed_process_ends_with_a_command_that_was_killed(tmp_path: Path) -> None:
    """It went on computing for hours, and disturbed what was timed next."""
    child = tmp_path / "pid"
    imported = "from tests.study.test_weightless import times_for_ever"
    code = f"{imported}\nif __name__ == '__main__': times_for_ever({str(child)!r})"
    script = tmp_path / "command.py"
    script.write_text(code)
    root = str(Path(__file__).resolve().parents[2])
    command = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root})
    try:
        wait_for(lambda: child.is_file() and child.read_text() != "")
    finally:
        command.kill()
        command.wait()
    found = psutil.Process(int(child.read_text())) if psutil.pid_exists(int(child.read_text())) else None
    wait_for(lambda: found is None or not found.is_running() or found.status() == psutil.STATUS_ZOMBIE)


def wait_for(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


ARMS = ["amateur=early_exit", "amateur.layer=2,3", "search.max_new_tokens=5", "prompts.prompt_tokens=6"]
SMALL = [*ARMS, "cost.latency_repeats=2", "expert.weights=random", "tracking=none"]


@pytest.mark.long
def test_costs_without_weights(tiny_gpt2_folder: Path, tmp_path: Path) -> None:
    """Kills: texts stored or scored of random weights, arms without a control, passes that were not counted."""
    done = cdeval(["--multirun", f"expert.name={tiny_gpt2_folder}", *SMALL, "study=shape"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "priced and none was decoded" in " ".join(done.stdout.split())
    assert "diversity" not in done.stdout
    found = [path for path in (tmp_path / "runs" / "shape").iterdir() if (path / "costs.json").is_file()]
    assert len(found) == 3, "two exits and the expert alone"
    for folder in found:
        costs, latency = (json.loads((folder / name).read_text()) for name in ("costs.json", "latency.json"))
        assert costs["decode_seconds_per_token"] > 0
        assert costs["bandwidth_seconds_per_token"] > 0
        assert costs["memory_bytes"] is None or costs["memory_bytes"] > costs["weights_bytes"]
        assert [len(tokens) for tokens in latency["token_seconds"]] == [4, 4]
        assert not (folder / "generations.jsonl").read_bytes()
        assert not (folder / "metrics.json").exists()
        assert 0 <= costs["other_load"] <= 1
    alone = next(folder for name, folder in folders(tmp_path / "runs" / "shape").items() if name == "expert")
    assert json.loads((alone / "costs.json").read_text())["latency_overhead"] == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics.only=[diversity]", "metrics.only=['diversity'] with expert.weights=random needs texts"),
        ("amateur=ngram", "amateur=ngram with expert.weights=random needs texts to count"),
        ("contrast.temperature=calibrated", "contrast.temperature=calibrated with expert.weights=random"),
        ("search.adaptive_exit.threshold=0.5", "search.adaptive_exit with expert.weights=random"),
        ("contrast.normalizer=candidates", "contrast.normalizer=candidates with expert.weights=random"),
        ("expert.weights=stolen", "Invalid value 'stolen'"),
        ("cost.isolated=perhaps", "cost.isolated=perhaps"),
    ],
)
def test_what_random_weights_cannot_tell(override: str, message: str, tiny_gpt2_folder: Path, tmp_path: Path) -> None:
    small = [argument for argument in SMALL if not argument.startswith("amateur") or override != "amateur=ngram"]
    arguments = [argument.replace("2,3", "2") for argument in small]
    done = cdeval([f"expert.name={tiny_gpt2_folder}", *arguments, override], tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()
