"""A sweep that is killed, terminated, out of disk, damaged or run twice at once ends as an undisturbed one does."""

import json
import os
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from cdeval.store.ledger import PointState, read_ledger
from tests import commands
from tests.commands import TEXTS

pytestmark = pytest.mark.long
BOTH = pytest.mark.parametrize(  # bfloat16 is the harder one: its texts depend on what shares a forward pass
    "undisturbed", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"], indirect=True
)
BFLOAT16 = pytest.mark.parametrize("undisturbed", ["bfloat16"], indirect=True)


@pytest.fixture(scope="module")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 prompts, so that a kill meets a sweep half done."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [{"id": f"t{i}", "text": f"{i} {TEXTS[i % 3][i:]}"} for i in range(16)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def command(folder: Path, prompts: Path, *more: str) -> list[str]:
    """4 rows to decode, in 16 units of 4 texts."""
    names = [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", "search.max_new_tokens=12"]
    cheap = ["metrics.only=[words,diversity]", "metrics.bootstrap_draws=100", "cost.latency_repeats=0", "tracking=none"]
    return [
        "--multirun",
        *names,
        *cheap,
        "study=s",
        "execution.max_lanes=4",
        "amateur.lens=norm",
        "amateur.layer=3,5,7",
        *more,
    ]


def stored(cwd: Path) -> dict[str, bytes]:
    """Run folder -> its texts, byte for byte."""
    return {path.parent.name: path.read_bytes() for path in sorted(cwd.glob("runs/s/*/generations.jsonl"))}


def results(cwd: Path) -> dict[str, bytes]:
    """What was made of the texts."""
    return {str(path.relative_to(cwd)): path.read_bytes() for path in sorted(cwd.glob("runs/s/*/metrics.json"))}


def start(arguments: list[str], cwd: Path, name: str = "log", largest_file: int | None = None) -> ForkServerProcess:
    return commands.start(arguments, cwd, cwd / name, largest_file=largest_file)


def log(cwd: Path, name: str = "log") -> str:
    return (cwd / f"{name}.err").read_text()


def ended(process: ForkServerProcess) -> int | None:
    process.join(120)
    return process.exitcode


def after_bytes(process: ForkServerProcess, cwd: Path, grown: int) -> None:
    """Wait until so many bytes more are stored, or the process has ended."""
    before = sum(map(len, stored(cwd).values()))
    while process.is_alive() and sum(map(len, stored(cwd).values())) < before + grown:
        time.sleep(0.001)


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_gpt2_folder: Path, texts_file: Path
) -> tuple[list[str], Path]:
    """A command, and the folder where it ran in peace."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    arguments = command(tiny_gpt2_folder, texts_file, f"expert.dtype={request.param}")
    assert ended(start(arguments, cwd)) == 0, log(cwd)
    assert [len(lines.splitlines()) for lines in stored(cwd).values()] == [16] * 5
    assert {entry.state for entry in read_ledger(cwd / "runs" / "s").points.values()} == {PointState.done}
    return arguments, cwd


def damage(cwd: Path, kind: str, choice: random.Random) -> None:
    """What a crash of the machine can leave behind."""
    study = cwd / "runs" / "s"
    files = [path for path in sorted(study.glob("*/generations.jsonl")) if path.stat().st_size]
    if kind == "ledger" and (study / "study.json").exists():
        page = (study / "study.json").read_bytes()
        (study / "study.json").write_bytes(choice.choice([b"", b"\0" * 64, b"[]", page[: len(page) // 2]]))
    elif files and kind in ("torn", "garbage"):
        path = choice.choice(files)
        data = path.read_bytes()
        path.write_bytes(data[: -choice.randrange(1, 200)] if kind == "torn" else data + b'{"id": \xff\0')


@BOTH
@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])  # each costs a start of 1 to 3 s
def test_kills_and_their_damage_change_nothing(undisturbed: tuple[list[str], Path], tmp_path: Path, kills: int) -> None:
    arguments, peace = undisturbed
    choice = random.Random(kills)
    line = len(next(iter(stored(peace).values()))) // 16
    for _ in range(kills):
        process = start(arguments, tmp_path)
        after_bytes(process, tmp_path, choice.choice([0, 1, line, 4 * line]))
        time.sleep(choice.choice([0, 0, 0.01, 0.1]))
        process.kill()
        assert ended(process) in (-signal.SIGKILL, 0), log(tmp_path)
        damage(tmp_path, choice.choice(["none", "torn", "garbage", "ledger"]), choice)
    assert ended(start(arguments, tmp_path)) == 0, log(tmp_path)
    assert stored(tmp_path).keys() == stored(peace).keys()
    for name, lines in stored(peace).items():
        assert sorted(stored(tmp_path)[name].splitlines()) == sorted(lines.splitlines()), name
    assert results(tmp_path) == results(peace)
    assert ended(start(arguments, tmp_path)) == 0
    assert "decoding" not in log(tmp_path), "the same command again has nothing to decode"
    assert (tmp_path / "runs/s/table.md").read_text().count("|") == (peace / "runs/s/table.md").read_text().count("|")


@BFLOAT16
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_batch_and_says_what_is_saved(
    undisturbed: tuple[list[str], Path], tmp_path: Path, number: int, code: int
) -> None:
    arguments, peace = undisturbed
    process = start(arguments, tmp_path)
    after_bytes(process, tmp_path, 1)
    os.kill(process.pid or 0, number)
    assert ended(process) == code, log(tmp_path)
    saved = sum(len(lines.splitlines()) for name, lines in stored(tmp_path).items() if "human" not in name)
    assert f"{saved} of 64 texts are saved" in log(tmp_path)
    assert "Traceback" not in log(tmp_path)
    assert saved % 4 == 0, "whole units"
    assert PointState.running.name not in (tmp_path / "runs/s/study.json").read_text()
    assert ended(start(arguments, tmp_path)) == 0, log(tmp_path)
    assert stored(tmp_path) == stored(peace)


@BFLOAT16
def test_a_full_disk_stops_at_a_whole_line_and_the_rest_follows(
    undisturbed: tuple[list[str], Path], tmp_path: Path
) -> None:
    arguments, peace = undisturbed
    full = len(max(stored(peace).values(), key=len))
    for share in (0.4, 0.8):
        assert ended(start(arguments, tmp_path, largest_file=int(full * share))) == 2, log(tmp_path)
        assert "File too large" in log(tmp_path)
        assert "Traceback" not in log(tmp_path)
    assert ended(start(arguments, tmp_path)) == 0, log(tmp_path)
    assert stored(tmp_path) == stored(peace)


@BFLOAT16
def test_two_processes_share_a_study(undisturbed: tuple[list[str], Path], tmp_path: Path) -> None:
    """The same command twice at once: one decodes, the other waits and reuses."""
    arguments, peace = undisturbed
    both = [start(arguments, tmp_path, name) for name in ("first", "second")]
    assert [ended(process) for process in both] == [0, 0], log(tmp_path, "first") + log(tmp_path, "second")
    assert stored(tmp_path) == stored(peace)
    assert results(tmp_path) == results(peace)


@BOTH
def test_processes_with_points_of_their_own_share_the_control(
    undisturbed: tuple[list[str], Path], tmp_path: Path
) -> None:
    """As hydra/launcher=joblib does: today's three commands want the expert alone each, and it is decoded once."""
    arguments, peace = undisturbed
    mine = [[word.replace("3,5,7", layer) for word in arguments] for layer in ("3", "5", "7")]
    three = [start(one, tmp_path, str(place)) for place, one in enumerate(mine)]
    logs = [log(tmp_path, str(place)) for place, process in enumerate(three) if ended(process) is not None]
    assert [process.exitcode for process in three] == [0, 0, 0], "\n".join(logs)
    assert stored(tmp_path).keys() == stored(peace).keys()
    decoded = sum(int(line.split()[1]) for text in logs for line in text.splitlines() if ": decoding" in line)
    assert decoded == 4 * 16, "nothing twice"
    assert {entry.state for entry in read_ledger(tmp_path / "runs" / "s").points.values()} == {PointState.done}
    if "expert.dtype=float32" in arguments:
        for name, lines in stored(peace).items():
            made = [{**json.loads(line), "score": 0, "logprob_expert": 0} for line in lines.splitlines()]
            here = [json.loads(line) for line in stored(tmp_path)[name].splitlines()]
            assert [{**line, "score": 0, "logprob_expert": 0} for line in here] == made
