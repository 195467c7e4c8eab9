"""Early exits of the expert from the command line: a study with them, their calibration, and what is mistyped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.config.enums import Split
from cdeval.prompts.cut import in_split

TEXT = "The quick brown fox jumps over the lazy dog and runs into the forest near the old river number {0}. " * 3
EXITS = ["search.adaptive_exit.layers=[0.5,9]", "search.max_new_tokens=8", "prompts.prompt_tokens=8"]
STUDY = ["search=calm", "metrics.only=[diversity]", "metrics.bootstrap_draws=100", "tracking=none"]
IDS = [f"text-{i}" for i in range(40)]

Typed = Callable[[str, Sequence[str]], str]


def write(path: Path, ids: Sequence[str]) -> Path:
    path.write_text("\n".join(json.dumps({"id": name, "text": TEXT.format(name)}) for name in ids))
    return path


@pytest.fixture
def arguments(tmp_path: Path, tiny_gpt2_folder: Path) -> list[str]:
    path = write(tmp_path / "texts.jsonl", IDS)
    return [f"expert.name={tiny_gpt2_folder}", "prompts=file", f"prompts.path={path}", f"runs={tmp_path / 'runs'}"]


def folder(study: Path, begins: str) -> Path:
    (found,) = (path for path in study.iterdir() if path.is_dir() and path.name.startswith(begins))
    return found


def of(path: Path, name: str) -> dict[str, float]:
    read: dict[str, float] = json.loads((path / name).read_text())
    return read


@pytest.mark.long
def test_a_study_beside_its_control(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """The expert by all blocks is the control of the expert that exits, and what it costs is the measure."""
    more = [*STUDY, *EXITS, "amateur=none", "study=alone", "search.adaptive_exit.threshold=0.2", "prompts.limit=3"]
    more += ["notes=all"]
    printed = typed("run", [*arguments, *more, "cost.latency_repeats=1", "cost.isolated=false"])
    assert "CALM k=6,9 by softmax λ=.2, greedy" in printed
    arm, control = (folder(tmp_path / "runs" / "alone", begins) for begins in ("CALM-k6-9", "expert"))
    lines = [json.loads(line) for line in (arm / "generations.jsonl").read_text().splitlines()]
    assert all(len(line["exit_layers"]) == 7 and set(line["exit_layers"]) <= {6, 9, 12} for line in lines)
    layers = [layer for line in lines for layer in line["exit_layers"]]
    costs, alone = of(arm, "costs.json"), of(control, "costs.json")
    assert costs["exit_layer"] == pytest.approx(sum(layers) / len(layers))
    assert f"{costs['exit_layer']:.1f} blocks on average" in " ".join(printed.split())
    assert "exit_layer" not in alone
    assert costs["flops_overhead"] == pytest.approx(costs["total_flops"] / alone["total_flops"] - 1)
    assert alone["flops_overhead"] == 0
    assert alone["latency_overhead"] == 0, "the control is what others are compared with"
    again = typed("run", [*arguments, *more, "cost.latency_repeats=0"])
    assert f"{costs['exit_layer']:.1f} blocks on average" in " ".join(again.split()), "stored texts keep their exits"


def test_a_contrast_beside_exits_above_its_layer(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    more = [*STUDY, *EXITS, "study=both", "prompts.limit=2", "cost.latency_repeats=0"]
    more += ["amateur.layer=5", "amateur.lens=norm", "notes=all"]
    printed = typed("run", [*arguments, *more])
    assert "early_exit k=5 α=0.3 β=1 T=0.5, CALM k=6,9 by softmax λ=.9, greedy" in printed
    assert "expert alone, greedy" in printed
    assert of(folder(tmp_path / "runs" / "both", "early_exit"), "costs.json")["amateur_flops"] > 0


def test_a_calibration_says_what_a_study_finds(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """Blocks, FLOPs and risks of the test split are those of the same texts in a study."""
    grid = ["thresholds=[1,0.5,0.2]", "tolerance=0.9", "level=0.3"]
    printed = typed("calibrate", [*arguments, *EXITS, *grid])
    record = json.loads((tmp_path / "runs" / "calm" / "calibration.json").read_text())
    tune, test = ([name for name in IDS if in_split(name, split)] for split in (Split.tune, Split.test))
    assert record["texts"] == {"calibration": len(tune), "test": len(test)}
    assert list(record["risks"]["calibration"]) == sorted(tune)
    assert record["layers"] == [6, 9]
    scores = {score["threshold"]: score for score in record["scores"]}
    assert list(scores) == [1.0, 0.5, 0.2]
    assert scores[0.2]["exit_layer"] <= scores[0.5]["exit_layer"] <= scores[1.0]["exit_layer"]
    for score in record["scores"]:
        assert f"{score['flops_saved']:+.1%}" in printed
        assert f"{score['risk']:.3f}" in printed
    assert record["chosen"] is not None
    assert f"search.adaptive_exit.threshold={record['chosen']:g} " in printed
    # The same threshold on the same texts, as a study.
    path = write(tmp_path / "test.jsonl", test)
    more = ["study=same", "amateur=none", "search.adaptive_exit.threshold=0.2", "cost.latency_repeats=0"]
    typed("run", [*arguments, *STUDY, *EXITS, *more, f"prompts.path={path}"])
    costs = of(folder(tmp_path / "runs" / "same", "CALM"), "costs.json")
    assert costs["flops_overhead"] == pytest.approx(-scores[0.2]["flops_saved"])
    assert costs["exit_layer"] == pytest.approx(scores[0.2]["exit_layer"])
    assert costs["exit_share"] == pytest.approx(scores[0.2]["exit_share"])


def test_nothing_is_promised_that_the_texts_cannot_show(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """About ten texts for a tolerance of 1 %; and no exit at all is no risk at all."""
    out = tmp_path / "mine.json"
    safe = ["thresholds=[1]", "search.adaptive_exit.decay=0", "search.adaptive_exit.measure=saturation"]
    printed = typed("calibrate", [*arguments, *EXITS, *safe, "tolerance=0.01", f"out={out}"])
    record = json.loads(out.read_text())
    assert record["chosen"] is None
    assert record["scores"][0]["risk"] == 0
    assert "no threshold is accepted" in printed
    assert "it takes 299" in printed


@pytest.mark.long
def test_a_contrast_is_calibrated_against_itself(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """The same contrast by all blocks, not the expert alone: without exits there is no risk."""
    safe = ["thresholds=[1]", "search.adaptive_exit.decay=0", "search.adaptive_exit.measure=saturation"]
    typed("calibrate", [*arguments, *EXITS, *safe, "amateur=early_exit", "amateur.layer=5"])
    record = json.loads((tmp_path / "runs" / "calm" / "calibration.json").read_text())
    (score,) = record["scores"]
    assert (score["risk"], score["test_risk"], score["exit_share"]) == (0, 0, 0)
    assert score["flops_saved"] < 0, "asking costs"


ON = "search.adaptive_exit.threshold=0.5"
STUDY_MISTAKES: list[tuple[list[str], str]] = [
    (["search.adaptive_exit.threshold=2"], "search.adaptive_exit.threshold=2.0 is out of range: expected a number in"),
    ([ON, "search.adaptive_exit.decay=-1"], "search.adaptive_exit.decay=-1.0 is out of range: expected a number in [0"),
    (
        ["search.adaptive_exit.layers=8"],
        "search.adaptive_exit.layers=8 is not read with search.adaptive_exit.threshold=null",
    ),
    (
        ["search.adaptive_exit.measure=saturation"],
        "measure=saturation is not read with search.adaptive_exit.threshold=null",
    ),
    ([ON, "search.adaptive_exit.measure=entropy"], "expected one of [softmax, saturation]"),
    ([ON, "search.adaptive_exit.layers=[]"], "search.adaptive_exit.layers=[] names no layer"),
    ([ON, "search.adaptive_exit.layers=[8,0]"], "search.adaptive_exit.layers=[8,0] is out of range: expected a whole"),
    ([ON, "search.adaptive_exit.layers=[8,12]"], "search.adaptive_exit.layers=12 is outside"),
    ([ON, "search.adaptive_exit.layers=12", "amateur=none"], "search.adaptive_exit.layers=12 is outside"),
    ([ON, "search.adaptive_exit.layers=[6,8]"], "the expert may exit only above it"),
    ([ON, "search.adaptive_exit.layers=4"], "Give layers from 7 to 11"),
    ([ON, "amateur.layer=11"], "the amateur is read after block 11 of every token"),
    ([ON, "search=contrastive_search", "amateur=none"], "Use search=greedy, beam or sample"),
    (["search.adaptive_exit.treshold=0.5"], "Did you mean 'threshold'?"),
]
MISTAKES: list[tuple[list[str], str]] = [
    (["thresholds=[]"], "expected at least one number, each in [0, 1]"),
    (["thresholds=[0.9,1.2]"], "thresholds=[0.9,1.2] is out of range"),
    (["thresholds=[0.5,0.9]"], "Give them in falling order, each once"),
    (["thresholds=[0.9,0.9]"], "Give them in falling order, each once"),
    (["tolerance=0"], "tolerance=0.0 is out of range: expected a number in (0, 1)"),
    (["level=1"], "level=1.0 is out of range"),
    ([ON], "search.adaptive_exit.threshold=0.5 is what is looked for: use thresholds=[...]"),
    (["search=nucleus", "search.samples=2"], "calibration reads one text a prompt"),
    (["prompts.split=all"], "expected tune or test"),
    (["out=scores.txt"], "one that ends with .json"),
    (["search.adaptive_exit.layers=[20]"], "search.adaptive_exit.layers=20 is outside"),
    (["tolerence=0.1"], "Did you mean 'tolerance'?"),
]


@pytest.mark.parametrize(("more", "expected"), STUDY_MISTAKES, ids=[" ".join(more) for more, _ in STUDY_MISTAKES])
def test_a_mistake_in_a_study_gets_one_clear_message(
    more: list[str], expected: str, arguments: list[str], refused: Typed
) -> None:
    layer = [] if any(word.startswith("amateur") for word in more) else ["amateur.layer=6"]
    assert expected in refused("run", [*arguments, *layer, *more, "tracking=none"])


@pytest.mark.parametrize(("more", "expected"), MISTAKES, ids=[" ".join(more) for more, _ in MISTAKES])
def test_a_mistake_in_a_calibration_gets_one_clear_message(
    more: list[str], expected: str, arguments: list[str], refused: Typed
) -> None:
    assert expected in refused("calibrate", [*arguments, *more])


def test_a_calibration_needs_texts_of_both_splits(arguments: list[str], tmp_path: Path, refused: Typed) -> None:
    one = write(tmp_path / "one.jsonl", [name for name in IDS if in_split(name, Split.test)])
    message = refused("calibrate", [*arguments, *EXITS, f"prompts.path={one}"])
    assert "prompts=file has no texts of the split tune" in message
