"""What becomes of points that fail, and what is said when a study goes on elsewhere; the command, in this process."""

import inspect
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from cdeval.cli import run_command
from cdeval.decode.lanes import Lane
from cdeval.run import run
from cdeval.store.ledger import Ledger, PointState, read_ledger
from cdeval.study import executor
from tests.commands import TEXTS, run_here
from tests.conftest import build_model

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    tmp_path: Path,
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Two exits and their control on three prompts, in units of two; the exit code and what was said."""
    names = [f"expert.name={tiny_gpt2_folder}", "prompts=file", f"prompts.path={prompts_file}", "execution.max_lanes=2"]
    cheap = ["metrics.only=[words]", "cost.latency_repeats=0", "tracking=none", "search.max_new_tokens=6", "study=s"]

    def call(*more: str) -> tuple[int, str]:
        arguments = ["--multirun", *names, *cheap, "amateur.lens=norm", "amateur.layer=4,5", *more]
        monkeypatch.setattr(
            "cdeval.report.publish.draw_files", lambda _chart, _folder: None
        )  # a sixth of a small study's time
        code, _, said = run_here(arguments, tmp_path, monkeypatch, capsys)
        return code, said

    return call


def states(tmp_path: Path) -> dict[str, PointState]:
    points = read_ledger(tmp_path / "runs" / "s").points.values()
    return {entry.label.split(" α")[0].split(",")[0]: entry.state for entry in points}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Decoding fails wherever the exit after block 5 is among the lanes; yields the functions that led there."""
    real = executor.decode
    ways: list[list[str]] = []

    def failing(expert: object, lanes: list[Lane], **named: object) -> object:
        if any(lane.setting.amateur.layer == 5 for lane in lanes):
            ways.append([f"{Path(frame.filename).stem}.{frame.function}" for frame in inspect.stack()[1:4]])
            raise RuntimeError("a kernel that is not there")
        return real(expert, lanes, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(executor, "decode", failing)
    return ways


def test_a_point_that_fails_while_decoding_costs_itself_alone_and_is_retried(
    command: Command, broken: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = command()
    assert code == 2
    assert said.count("error: ") == 1
    assert "k=5 α=0.3 β=1 T=0.5, beam 5: RuntimeError: a kernel that is not there (traceback: runs/s/early_exit" in said
    assert "1 failed; the same command again tries" in said
    assert "Traceback" not in said
    (failure,) = (tmp_path / "runs" / "s").glob("*/failure.txt")
    assert "in failing" in failure.read_text()
    done = {"early_exit k=4": PointState.done, "expert alone": PointState.done, "human": PointState.done}
    assert states(tmp_path) == {**done, "early_exit k=5": PointState.failed}
    table = (tmp_path / "runs" / "s" / "table.md").read_text()
    assert "k=4" in table
    assert "k=5" not in table
    monkeypatch.undo()
    code, said = command("retry=false")
    assert code == 2
    assert "failed before and is left (retry=true tries it again): RuntimeError" in said
    assert "decoding" not in said
    assert states(tmp_path)["early_exit k=5"] is PointState.failed
    code, said = command()
    assert code == 0, said
    assert states(tmp_path) == {**done, "early_exit k=5": PointState.done}
    assert not failure.exists()


def test_where_every_point_fails_the_command_says_so_and_scores_nothing(
    command: Command, broken: list[list[str]], tmp_path: Path
) -> None:
    code, said = command("amateur.layer=5", "controls=false")
    assert code == 2
    assert "scoring" not in said
    assert "1 failed; the same command again tries" in said
    assert states(tmp_path) == {"early_exit k=5": PointState.failed}
    assert broken[0] == ["executor.decode", "pipeline.run_study", "run.run"], "the way from the command to decoding"


def test_a_study_that_cannot_be_scored_keeps_its_texts_and_says_why_in_the_ledger(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdeval.study.results.score_study", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command()
    points = read_ledger(tmp_path / "runs" / "s").points.values()
    assert {(one.state, one.reason, one.stored) for one in points if one.role != "human"} == {
        (PointState.failed, "division by zero", 3)
    }
    monkeypatch.undo()
    code, said = command()
    assert code == 0, said
    assert "9 continuations are already stored and are reused" in said


@pytest.mark.long
def test_a_setting_that_is_no_point_is_in_the_ledger_until_it_is_right(command: Command, tmp_path: Path) -> None:
    code, said = command("amateur.layer=4,12")
    assert code == 2
    assert states(tmp_path)["early_exit k=12"] is PointState.failed
    (entry,) = (one for one in read_ledger(tmp_path / "runs" / "s").points.values() if one.folder is None)
    assert "amateur.layer=12 is outside" in (entry.reason or "")
    code, said = command("amateur.layer=4,12", "retry=false")
    assert code == 2
    assert "failed before and is left" in said


@pytest.mark.long
def test_a_broken_run_folder_costs_its_point_alone(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    study = tmp_path / "runs" / "s"
    (texts,), (others,) = study.glob("early_exit-k5*/generations.jsonl"), study.glob("early_exit-k4*/generations.jsonl")
    whole, before = texts.read_bytes(), others.read_bytes()
    texts.write_bytes(b"garbage\n" + whole)
    others.unlink()
    assert states(tmp_path)["early_exit k=4"] is PointState.planned, "its summary alone does not make it done"
    code, said = command()
    assert code == 2
    assert "line 1 is not a stored text" in said
    assert states(tmp_path)["early_exit k=4"] is PointState.done
    assert others.read_bytes() == before, "texts that vanished are decoded again"
    first = json.loads(whole.splitlines()[0])
    texts.write_bytes(whole.replace(first["prompt"][:9].encode(), b"Otherwise"))
    code, said = command()
    assert code == 2
    assert "is not of this study: it continues another prompt under the same id" in said
    assert states(tmp_path)["early_exit k=5"] is PointState.failed


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "warned"), [("bfloat16", True), ("float32", False)])
def test_a_resume_on_another_machine_says_what_may_move_a_bfloat16_text(
    command: Command, tmp_path: Path, dtype: str, warned: bool
) -> None:
    assert command(f"expert.dtype={dtype}")[0] == 0
    (folder,) = (tmp_path / "runs" / "s").glob("early_exit-k5*")
    record = json.loads((folder / "provenance.json").read_text())
    record["sessions"][0]["identity"].update(torch="1.0", cpu="an abacus")
    (folder / "provenance.json").write_text(json.dumps(record))
    lines = (folder / "generations.jsonl").read_text().splitlines(keepends=True)
    (folder / "generations.jsonl").write_text("".join(lines[:2]))
    code, said = command(f"expert.dtype={dtype}")
    assert code == 0, said
    assert ("may differ: cpu an abacus, now" in said) == warned
    assert ("torch 1.0, now" in said) == warned
    assert (folder / "generations.jsonl").read_text().splitlines(keepends=True) == lines
    now = json.loads((folder / "provenance.json").read_text())
    assert [one["identity"]["dtype"] for one in now["sessions"]] == [dtype, dtype]
    assert now["started_utc"] == record["started_utc"], "what made the first texts stays"
    assert now["models"]["max_lanes"] == 2


@pytest.mark.long
def test_a_stored_text_that_comes_out_otherwise_is_kept_and_said(command: Command, tmp_path: Path) -> None:
    """The lost text of one point is decoded beside the first of another, which somebody has edited."""
    assert command("expert.dtype=float32")[0] == 0
    lost, path = sorted((tmp_path / "runs" / "s").glob("early_exit-k*/generations.jsonl"))
    lines = lost.read_text().splitlines(keepends=True)
    lost.write_text("".join(lines[1:]))
    first, *rest = path.read_text().splitlines(keepends=True)
    edited = [json.dumps({**json.loads(first), "continuation": " marked"}) + "\n", *rest]
    path.write_text("".join(edited))
    code, said = command("expert.dtype=float32")
    assert code == 0, said
    assert "1 stored texts came out otherwise" in said
    assert path.read_text() == "".join(edited)
    assert lost.read_text().splitlines(keepends=True) == [*lines[1:], lines[0]]


def test_an_amateur_that_is_no_number_for_one_prompt_costs_its_point_alone(
    tmp_path: Path,
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its texts were decoded all the same, and the command ended well or in a traceback from clustering."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2_folder)
    first, second, third = (set(tokenizer(text)["input_ids"]) for text in TEXTS)
    model = build_model("gpt2", seed=1, n_layer=12, n_positions=512, tie_word_embeddings=False)
    model.transformer.wte.weight[min(second - first - third)] = math.nan
    model.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    names = [f"expert.name={tiny_gpt2_folder}", "prompts=file", f"prompts.path={prompts_file}", "execution.max_lanes=8"]
    cheap = ["metrics.only=[words]", "cost.latency_repeats=0", "tracking=none", "search.max_new_tokens=2", "study=s"]
    amateur = ["amateur=model", f"amateur.name={tmp_path / 'broken'}", "expert.dtype=float32"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cdeval.run", *names, *cheap, *amateur])
    with pytest.raises(SystemExit) as stopped:
        run_command(run)
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2
    assert said.count("failed, the others go on") == 1
    for part in ("in float32 cannot continue prompt 'text-1' at new token 1 of 2", "scores against the amateur"):
        assert part in said
    assert "Traceback" not in said
    stored = {path.parent.name.split("-")[0]: path for path in tmp_path.glob("runs/s/*/generations.jsonl")}
    ids = {name: [json.loads(line)["id"] for line in path.read_text().splitlines()] for name, path in stored.items()}
    assert sorted(ids.pop("expert")) == ["text-0", "text-1", "text-2"]
    arm = next(found for name, found in ids.items() if name != "human")
    assert "text-1" not in arm
    assert arm, "what was generated stays on disk"


def described(root: Path) -> list[tuple[str, str, str, str]]:
    """Folder, the model that config.yaml names, the one that provenance.json names, and its fingerprint."""
    found = []
    for path in sorted(root.glob("*/provenance.json")):
        record, settings = (
            json.loads(path.read_text())["models"],
            yaml.safe_load((path.parent / "config.yaml").read_text()),
        )
        found.append((path.parent.name, settings["expert"]["name"], record["expert"], record["fingerprint"]))
    return found


@pytest.mark.long
def test_another_model_under_the_same_path_is_decoded_beside_the_first(
    command: Command, tmp_path: Path, tiny_gpt2_folder: Path
) -> None:
    """The weights are the same, the configuration is not: no text of the first is the second's."""
    model = tmp_path / "model"
    shutil.copytree(tiny_gpt2_folder, model)
    one = [f"expert.name={model}", "amateur.layer=4"]
    code, said = command(*one)
    assert code == 0, said
    first = described(tmp_path / "runs" / "s")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "layer_norm_epsilon": 0.1}))
    code, said = command(*one)
    assert code == 0, said
    assert "already stored" not in said
    both = described(tmp_path / "runs" / "s")
    assert set(first) < set(both)
    assert len(both) == len(first) + 2  # the arm and its control; the human texts are nobody's
    assert len({fingerprint for *_, fingerprint in both}) == 2


@pytest.mark.long
def test_the_same_model_at_another_path_is_the_same_and_keeps_its_first_name(
    command: Command, tmp_path: Path, tiny_gpt2_folder: Path
) -> None:
    code, said = command("amateur.layer=4")
    assert code == 0, said
    shutil.copytree(tiny_gpt2_folder, tmp_path / "copy")
    code, said = command("amateur.layer=4", f"expert.name={tmp_path / 'copy'}")
    assert code == 0, said
    assert "6 continuations are already stored and are reused" in said
    found = described(tmp_path / "runs" / "s")
    assert len(found) == 3
    assert all(settings == record for _, settings, record, _ in found)


@pytest.mark.long
def test_run_folders_whose_model_is_known_by_a_sample_are_said_once(command: Command, tmp_path: Path) -> None:
    """As an older release stored them: nobody can tell whether it was this model."""
    code, said = command("amateur.layer=4")
    assert code == 0, said
    assert "older cdeval" not in said
    for path in (tmp_path / "runs" / "s").glob("*/provenance.json"):
        record = json.loads(path.read_text())
        record["models"]["fingerprint"] = record["models"]["fingerprint"].removeprefix("2:")
        path.write_text(json.dumps(record))
    code, said = command("amateur.layer=5")
    assert code == 0, said
    assert said.count("older cdeval") == 1
    assert "2 run folders in runs/s are of an older cdeval" in said


def test_the_lock_of_the_ledger_is_never_held_while_texts_are_decoded_scored_drawn_or_counted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes of the study wait for it, so it is held for milliseconds."""
    held, passed = [], set()
    real = Ledger.locked

    @contextmanager
    def locked(ledger: Ledger) -> Iterator[None]:
        with real(ledger):
            held.append(ledger)
            yield
        held.pop()

    def watched(name: str) -> None:
        room, _, function = name.rpartition(".")
        inner = getattr(import_module(room), function)

        def outer(*arguments: object, **named: object) -> object:
            assert not held, f"{name} is called while the ledger is locked"
            passed.add(name)
            return inner(*arguments, **named)

        monkeypatch.setattr(name, outer)

    monkeypatch.setattr(Ledger, "locked", locked)
    names = {
        "cdeval.study.open.load_together",
        "cdeval.study.executor.unit_texts",
        "cdeval.study.point_states.stored_texts",
        "cdeval.study.point_store.check_stored",
        "cdeval.study.costs.price_arms",
        "cdeval.study.results.score_study",
        "cdeval.study.results.compare_kept",
        "cdeval.study.results.publish",
    }
    for name in names:
        watched(name)
    code, said = command()
    assert code == 0, said
    assert passed == names
