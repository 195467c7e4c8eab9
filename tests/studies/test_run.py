"""The command, end to end on a tiny checkpoint, as a user types it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from cdeval.metrics.registry import all_metrics
from tests.commands import TEXTS, cdeval, folders, on, typed

EVERYTHING = ["metrics.only=[]", "tracking=wandb"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2_folder: Path, prompts_file: Path) -> tuple[Path, str]:
    """One finished study and what it printed."""
    cwd = tmp_path_factory.mktemp("study")
    done = cdeval(on(tiny_gpt2_folder, prompts_file, "study=first", "cost.latency_repeats=1", *EVERYTHING), cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "runs" / "first", done.stdout


def test_every_row_has_a_complete_run_folder(finished: tuple[Path, str]) -> None:
    study, _ = finished
    rows = folders(study)
    assert set(rows) == {"early_exit", "expert", "human"}
    for row in rows.values():
        names = {path.name for path in row.iterdir()}
        files = {"config.yaml", "provenance.json", "generations.jsonl", "metrics.json", "costs.json", "summary.json"}
        assert files <= names
        settings = yaml.safe_load((row / "config.yaml").read_text())
        assert (settings["amateur"]["kind"], settings["amateur"]["layer"]) == ("early_exit", 6)
        amateur = {"early_exit": "early_exit", "expert": "none", "human": None}[row.name.split("-")[0]]
        own = settings["point"]["setting"]
        assert (own and own["amateur"]["kind"]) == amateur


def test_the_dictionaries_name_every_file_and_column_of_a_study(finished: tuple[Path, str]) -> None:
    root, (study, _) = Path(__file__).resolve().parents[2], finished
    files, columns = ((root / page).read_text("utf-8") for page in ("runs/README.md", "docs/columns.md"))
    rows = {row.name for row in folders(study).values()}
    inside = [
        path for folder in (study, *folders(study).values()) for path in folder.iterdir() if path.name not in rows
    ]
    written = {f"{path.name}/" if path.is_dir() else path.name for path in inside}
    assert {"results.csv", "scores.npz", "figures/"} <= written
    assert sorted(name for name in written if f"{name}`" not in files) == []
    header = (study / "results.csv").read_text("utf-8").split("\n")[0].split(",")
    metrics = {metric.name for metric in all_metrics()}
    assert metrics & set(header), "which columns.md names as one kind"
    names = {re.sub("_(low|high)$", "", name) for name in header} - metrics
    settings = {"seed", *(name for name in names if name.split(".")[0] in ("amateur", "contrast", "search"))}
    assert {"amateur.layer", "contrast.alpha", "search.beams"} <= settings & names
    assert sorted(name for name in names - settings if f"`{name}`" not in columns) == []


def test_every_text_has_exactly_the_tokens_asked_for(finished: tuple[Path, str]) -> None:
    study, _ = finished
    for row in folders(study).values():
        lines = [json.loads(line) for line in (row / "generations.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines] == ["text-0", "text-1", "text-2"]
        assert all(len(line["token_ids"]) == 8 and len(line["prompt_token_ids"]) == 32 for line in lines)


def test_the_table_shows_what_the_files_say(finished: tuple[Path, str]) -> None:
    study, printed = finished
    for name, row in folders(study).items():
        summary = json.loads((row / "summary.json").read_text())
        assert summary["texts"] == 3
        assert f"{summary['coherence']:.3f}".lstrip("0") in printed
        assert (summary.get("total_flops") is None) == (name == "human")
    arm = json.loads((folders(study)["early_exit"] / "summary.json").read_text())
    assert arm["flops_overhead"] == arm["amateur_flops"] / (arm["expert_prefill_flops"] + arm["expert_decode_flops"])
    assert arm["flops_overhead"] > 0
    assert json.loads((folders(study)["expert"] / "summary.json").read_text())["flops_overhead"] == 0


def test_nothing_is_left_outside_the_study(finished: tuple[Path, str]) -> None:
    study, _ = finished
    assert [path.name for path in study.parent.parent.iterdir()] == ["runs"]


@pytest.mark.long
def test_an_interrupted_study_continues_and_reuses_its_texts(
    finished: tuple[Path, str], tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """A torn last line costs that text alone; the others are reused (one is marked here, to be recognised)."""
    study, _ = finished
    shutil.copytree(study, tmp_path / "runs" / "first")
    arm = folders(tmp_path / "runs" / "first")["early_exit"]
    whole = (arm / "generations.jsonl").read_text().splitlines(keepends=True)
    marked = {**json.loads(whole[0]), "continuation": " a marked text"}
    (arm / "generations.jsonl").write_text(json.dumps(marked) + "\n" + whole[1] + whole[2][:40])
    (arm / "summary.json").unlink()
    again = cdeval(on(tiny_gpt2_folder, prompts_file, "study=first"), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "reused" in again.stderr
    now = (arm / "generations.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(now[0])["continuation"] == " a marked text"
    assert [json.loads(line) for line in now[1:]] == [json.loads(line) for line in whole[1:]]
    assert (arm / "summary.json").exists()


@pytest.mark.long
def test_several_samples_are_stored_scored_and_resumed(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """Half of the lines are lost, of the rest some prompts lack their first sample: the same texts come back."""
    more = ["study=drawn", "tracking=none", "search=nucleus", "search.samples=3", "metrics.only=[diversity]"]
    more += ["cost.latency_repeats=1", "cost.isolated=false"]
    done = cdeval(on(tiny_gpt2_folder, prompts_file, *more), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nucleus p=.95 ×3" in done.stdout
    assert "3 samples a prompt, one unit of the intervals" in (tmp_path / "runs" / "drawn" / "table.md").read_text()
    rows = folders(tmp_path / "runs" / "drawn")
    lines = {}
    for name in ("early_exit", "expert"):
        file = rows[name] / "generations.jsonl"
        lines[name] = file.read_text().splitlines()
        texts = [json.loads(line) for line in lines[name]]
        assert sorted((text["id"], text["sample"]) for text in texts) == [
            (f"text-{i}", s) for i in range(3) for s in range(3)
        ]
        for prompt in ("text-0", "text-1", "text-2"):
            drawn = {tuple(text["token_ids"]) for text in texts if text["id"] == prompt}
            assert len(drawn) > 1, "so sharp a model may draw two alike, by the last bits of a number format"
        summary = json.loads((rows[name] / "summary.json").read_text())
        assert summary["texts"] == 9
        assert summary["decode_seconds_per_token"] > 0
        file.write_text("".join(line + "\n" for line in lines[name][1::2]))
    assert len((rows["human"] / "generations.jsonl").read_text().splitlines()) == 3
    again = cdeval(on(tiny_gpt2_folder, prompts_file, *more, "execution.max_lanes=2"), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "8 continuations are already stored" in again.stderr
    for name, before in lines.items():
        now = (rows[name] / "generations.jsonl").read_text().splitlines()
        assert now[:4] == before[1::2]
        drawn = [{text: line[text] for text in ("id", "sample", "token_ids")} for line in map(json.loads, sorted(now))]
        assert drawn == [{text: line[text] for text in drawn[0]} for line in map(json.loads, sorted(before))]


def test_contrastive_search_is_a_baseline_of_its_own(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    more = ["study=su", "tracking=none", "search=contrastive_search", "amateur=none", "metrics.only=[diversity]"]
    done = cdeval([word for word in on(tiny_gpt2_folder, prompts_file, *more) if "amateur.l" not in word], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "contrastive search k=5 α=.6" in done.stdout
    (arm,) = (path for path in (tmp_path / "runs" / "su").iterdir() if path.name.startswith("expert"))
    assert all(len(json.loads(line)["token_ids"]) == 8 for line in (arm / "generations.jsonl").read_text().splitlines())
    assert json.loads((arm / "summary.json").read_text())["flops_overhead"] == 0


def test_whole_prompts_of_several_lengths_keep_their_ids(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    items = [
        {"id": "short", "prompt": "The quick brown", "reference": " fox jumps over the lazy dog and runs"},
        {"id": "long", "prompt": "Researchers said on Monday that", "reference": " the results of the study were"},
        {"id": "bare", "prompt": "A small model writes"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(items))
    more = ["study=mixed", "tracking=none", "search=greedy", "search.max_new_tokens=5", "cost.latency_repeats=0"]
    more += ["metrics.only=[diversity]"]
    done = cdeval(on(tiny_gpt2_folder, tmp_path / "p.json", *more), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = folders(tmp_path / "runs" / "mixed")
    lines = [json.loads(line) for line in (rows["early_exit"] / "generations.jsonl").read_text().splitlines()]
    assert {line["id"]: line["prompt"] for line in lines} == {item["id"]: item["prompt"] for item in items}
    assert {line["id"] for line in map(json.loads, (rows["human"] / "generations.jsonl").read_text().splitlines())} == {
        "short",
        "long",
    }


@pytest.mark.long
def test_the_gpt2_preset_runs_on_a_checkpoint(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    """What the workflow runs on gpt2 small from the hub, here on a folder; its prompts come from the package index."""
    quick = ["tracking=none", "cost.latency_repeats=0", "prompts.prompt_tokens=8"]
    done = cdeval(["+preset=smoke_gpt2", f"expert.name={tiny_gpt2_folder}", *quick], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exit k=10" in done.stdout


@pytest.mark.parametrize(
    ("controls", "fills"), [pytest.param("true", "human", marks=pytest.mark.slow), ("false", "early_exit")]
)
def test_a_full_disk_keeps_what_was_written(tmp_path: Path, tiny_gpt2_folder: Path, controls: str, fills: str) -> None:
    """A limit of 8 KiB a file stands in for the disk; with room again, the same command goes on after what is saved."""
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS * 10))
    arguments = on(
        tiny_gpt2_folder,
        many,
        "study=full",
        "tracking=none",
        "metrics.only=[diversity]",
        "execution.max_lanes=4",
        f"controls={controls}",
    )
    failed = typed("cdeval.run", arguments, tmp_path, largest_file=8192)
    assert failed.returncode == 2, failed.stderr
    assert "error: " in failed.stderr
    assert "the same command, run again, continues" in failed.stderr
    assert "Traceback" not in failed.stderr
    texts = folders(tmp_path / "runs" / "full")[fills] / "generations.jsonl"
    saved = texts.read_text().splitlines()
    assert 0 < len(saved) < 30
    again = cdeval(arguments, tmp_path)
    assert again.returncode == 0, again.stderr
    lines = texts.read_text().splitlines()
    assert len(lines) == 30
    assert lines[: len(saved)] == saved
