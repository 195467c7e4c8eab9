"""The lens command, end to end on a tiny checkpoint: trained, measured, used in a study; and as a user mistypes it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from cdeval.config.enums import Split
from cdeval.config.exits import Lens
from cdeval.config.schema import ExpertConfig
from cdeval.models.lens import FORMAT, read_lens
from cdeval.prompts.cut import in_split
from cdeval.prompts.tokens import TextCodec

TEXT = "The quick brown fox jumps over the lazy dog and runs into the forest near the old river number {0}. " * 3
FIT = ["fit.method=gradient", "fit.steps=12", "fit.window_tokens=32", "fit.positions=32", "fit.learning_rate=0.02"]
SHORT = [*FIT, "layers=[4,0.5]"]
STUDY = ["search.max_new_tokens=6", "metrics.only=[diversity]", "cost.latency_repeats=0", "tracking=none"]
STUDY += ["metrics.bootstrap_draws=100", "prompts.limit=3", "prompts.prompt_tokens=8"]

Typed = Callable[[str, Sequence[str]], str]


@pytest.fixture
def arguments(tmp_path: Path, tiny_gpt2_folder: Path) -> list[str]:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"text-{i}", "text": TEXT.format(i)}) for i in range(24)))
    return [f"expert.name={tiny_gpt2_folder}", "prompts=file", f"prompts.path={path}", f"runs={tmp_path / 'runs'}"]


def lens_file(runs: Path) -> Path:
    (found,) = (runs / "lens").glob("*.safetensors")
    return found


def test_a_lens_is_trained_measured_and_used(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    printed = typed("lens", [*arguments, "train=true", *SHORT])
    trained = lens_file(tmp_path / "runs")
    assert str(trained) in printed.replace("\n", "")
    record = json.loads(trained.with_suffix(".json").read_text())
    scores = {(score["layer"], score["lens"]): score for score in record["scores"]}
    assert set(scores) == {(k, lens) for k in (4, 6) for lens in ("norm", "raw", "gradient")} | {(12, "expert")}
    for layer in (4, 6):
        assert scores[layer, "gradient"]["kl"] < scores[layer, "norm"]["kl"]
        assert f"{scores[layer, 'gradient']['nll']:.3f}" in printed
    assert record["lenses"]["gradient"]["texts"] == "file (split tune)"
    assert record["lenses"]["gradient"]["digest"][:8] in trained.name

    again = typed("lens", [*arguments, f"lens_file={trained}", "lenses=[]"])
    assert f"{scores[6, 'gradient']['nll']:.3f}" in again
    measured = json.loads((tmp_path / "runs" / "lens" / "scores.json").read_text())
    assert [score for score in measured["scores"] if score["lens"] == "gradient"] == [
        scores[4, "gradient"],
        scores[6, "gradient"],
    ]

    more = [
        "amateur.layer=0.34",
        "amateur.lens=tuned",
        f"amateur.lens_file={trained}",
        "contrast.temperature=calibrated",
    ]
    printed = typed("run", [*arguments, *STUDY, "study=used", *more])
    assert "exit k=4 tuned lens" in printed
    (arm,) = (tmp_path / "runs" / "used").glob("early_exit*")
    provenance = json.loads((arm / "provenance.json").read_text())["models"]
    assert provenance["lens"]["fingerprint"] == record["lenses"]["gradient"]["fingerprint"]
    fitted = provenance["temperature"]
    assert f" T={fitted['temperature']:g}" in json.loads((arm / "provenance.json").read_text())["point"]["label"]
    assert fitted["nll"] < fitted["nll_uncalibrated"]
    prompts = [json.loads(line)["id"] for line in (arm / "generations.jsonl").read_text().splitlines()]
    unseen = {f"text-{i}" for i in range(24) if in_split(f"text-{i}", Split.test)} - set(prompts)
    assert fitted["texts"] == min(16, len(unseen)), "neither the prompts nor what the lens was trained on"
    flattered = sum(in_split(prompt, Split.tune) for prompt in prompts)
    assert (f"trained on the texts of {flattered} of these prompts" in printed) == (flattered > 0)


def test_methods_are_trained_in_one_command_and_measured_side_by_side(
    arguments: list[str], typed: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "mine.safetensors"
    methods = ["train=true", "fit.method=[gradient,least_squares]", f"out={out}", "fit.ridge=0.01", "fit.steps=3"]
    fit = [setting for setting in SHORT if not setting.startswith(("fit.method", "fit.steps"))]
    printed = typed("lens", [*arguments, *methods, *fit]).replace("\n", "")
    record = json.loads(out.with_suffix(".json").read_text())
    names = ["norm", "raw", "gradient", "least_squares"]
    assert [score["lens"] for score in record["scores"]] == [*names, *names, "expert"]
    kl = {score["lens"]: score["kl"] for score in record["scores"] if score["layer"] == 6}
    assert kl["least_squares"] < kl["norm"]
    lenses = {}
    for name, facts in record["lenses"].items():
        path = out.with_stem(f"mine-{name}")
        lenses[name] = read_lens(path, [4, 6], 32)
        assert (
            f"{name}, fitted in {facts['seconds']} s: use it by amateur.lens=tuned amateur.lens_file={path}" in printed
        )
        assert lenses[name].facts.items() - {("format", FORMAT)} <= facts.items()
        assert (facts["method"], facts["window_tokens"]) == (name, "32")
    assert {"ridge", "weighting"} & set(record["lenses"]["gradient"]) == set()
    solved = record["lenses"]["least_squares"]
    assert (solved["ridge"], solved["weighting"], solved.get("steps")) == ("0.01", "direction", None)
    # From the solution a step of no size leaves the same lens; what made it is in the file.
    again = ["train=true", "fit.method=gradient", "fit.start=least_squares", "fit.steps=1", "fit.learning_rate=1e-12"]
    again += ["fit.ridge=0.01", "fit.window_tokens=32", "fit.positions=32", "layers=[4,6]", f"out={out}"]
    typed("lens", [*arguments, *again])
    found = read_lens(out, [4, 6], 32)
    assert (found.facts["start"], found.facts["ridge"], found.facts["steps"]) == ("least_squares", "0.01", "1")
    for layer, translator in lenses["least_squares"].translators.items():
        torch.testing.assert_close(found.translators[layer].matrix, translator.matrix, rtol=1e-5, atol=1e-7)


@pytest.mark.long
def test_a_copy_of_a_lens_continues_the_same_study(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """Texts belong to what is in the file, not to its name; another lens under the same name makes other texts."""
    typed("lens", [*arguments, "train=true", *SHORT])
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(lens_file(tmp_path / "runs").read_bytes())
    more = ["amateur.layer=4", "amateur.lens=tuned", "study=same", "controls=false"]
    for path in (lens_file(tmp_path / "runs"), copy):
        typed("run", [*arguments, *STUDY, *more, f"amateur.lens_file={path}"])
    folders = list((tmp_path / "runs" / "same").glob("*/generations.jsonl"))
    assert len(folders) == 1
    typed("lens", [*arguments, "train=true", *SHORT, "seed=1", f"out={copy}"])
    typed("run", [*arguments, *STUDY, *more, f"amateur.lens_file={copy}"])
    folders = list((tmp_path / "runs" / "same").glob("*/generations.jsonl"))
    assert len(folders) == 2


@pytest.mark.long
def test_margins_are_held_against_a_studys_texts(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    """Each exit at its own lens, β and T, the expert alone at none; of a study that two commands made, all settings."""
    from cdeval.lens.loops import passage_readings
    from cdeval.lens.reading import Contrast, View
    from cdeval.models.loading import open_model

    typed("lens", [*arguments, "train=true", *SHORT])
    lens, root = lens_file(tmp_path / "runs"), tmp_path / "runs"
    grid = ["study=grid", "contrast.temperature=1,2", "contrast.beta=0.5", "search.beams=2"]
    typed("run", ["--multirun", *arguments, *STUDY, *grid, "amateur.lens=norm", "amateur.layer=4,6"])
    tuned = ["amateur.lens=tuned", f"amateur.lens_file={lens}", "amateur.layer=6"]
    typed("run", ["--multirun", *arguments, *STUDY, *grid, *tuned])

    printed = typed("lens", [*arguments, f"study={root / 'grid'}", "text_tokens=20"])
    record = json.loads((root / "lens" / "grid.json").read_text())
    assert {name: (rank["margin"]["n"], rank["kl"]["n"]) for name, rank in record["ranks"].items()} == {
        "beam, all": (7, 6),
        "beam, norm": (5, 4),
        "beam, tuned": (3, 2),
    }, "the expert alone has a margin and no divergence"
    rows = {row["label"]: row for row in record["settings"]}
    assert all(f"{row['margin']['value']:+.2f}" in printed for row in rows.values())
    for folder in (root / "grid").glob("*/summary.json"):
        label = json.loads((folder.parent / "provenance.json").read_text())["point"]["label"]
        if label != "human":
            assert rows[label]["diversity"] == json.loads(folder.read_text())["diversity"]
    expert = open_model(ExpertConfig(arguments[0].removeprefix("expert.name="))).load(packed=False)
    codec = TextCodec(expert.tokenizer)
    held_out = [TEXT.format(i) for i in range(24) if in_split(f"text-{i}", Split.test)]
    view = View(6, Lens.tuned, read_lens(lens, None, expert.parts.head_weight.shape[-1]).translators[6])
    read = passage_readings(expert, [codec.prompt_ids(text)[:20] for text in held_out], [(view, Contrast(0.3, 0.5, 1))])
    (label,) = (label for label in rows if "k=6 tuned" in label and "T=1" in label)
    assert rows[label]["margin"]["value"] == pytest.approx(read.margins[:, 0].mean(), abs=1e-6)
    assert rows[label]["kl"] == pytest.approx(read.divergences.mean(), abs=1e-6)
    (alone,) = (label for label in rows if label.startswith("expert alone"))
    assert rows[alone]["margin"]["value"] == pytest.approx(read.margins[:, 1].mean(), abs=1e-6)
    assert rows[alone]["kl"] is None


@pytest.mark.long
def test_margins_are_of_the_lens_that_the_study_was_decoded_with(
    arguments: list[str], typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lens that was trained anew under the same name would give margins that belong to no text."""
    lens = tmp_path / "lens.safetensors"
    typed("lens", [*arguments, "train=true", *SHORT, f"out={lens}"])
    tuned = ["amateur.lens=tuned", f"amateur.lens_file={lens}", "amateur.layer=6"]
    typed("run", [*arguments, *STUDY, "search.beams=2", "study=tuned", *tuned])
    typed("lens", [*arguments, "train=true", *SHORT, "seed=1", f"out={lens}"])
    for _ in range(2):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            typed("lens", [*arguments, f"study={tmp_path / 'runs' / 'tuned'}"])
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert "is not the lens that 'early_exit k=6" in said
        assert "Put the old file back" in said
        # An arm that was decoded with the new one, beside it, vouches for itself alone.
        typed("run", [*arguments, *STUDY, "search.beams=2", "study=tuned", *tuned])


def test_margins_speak_of_no_study_without_exits_and_of_no_other_expert(
    arguments: list[str], typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [*arguments, *STUDY, "search.beams=2", "expert.dtype=float32"]
    typed("run", [*short, "study=plain", "amateur=none"])
    typed("run", [*short, "study=exits", "amateur.lens=norm", "amateur.layer=4"])
    said = [
        ("study=plain", "none of its 1 settings subtracts one exit layer"),
        ("study=nothing", "there is no such folder"),
        ("study=exits expert.dtype=bfloat16", "was made by another expert, or in another number format"),
    ]
    for words, expected in said:
        study, *more = words.split()
        with pytest.raises(SystemExit) as stop:
            typed("lens", [*arguments, study.replace("=", f"={tmp_path / 'runs'}/"), *more])
        assert stop.value.code == 2
        assert expected in capsys.readouterr().err


def test_training_texts_and_held_out_texts_are_of_two_splits(
    arguments: list[str], typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cdeval.lens import pipeline, training

    seen: dict[str, list[str]] = {}
    monkeypatch.setattr(training, "windows", lambda texts, *rest: seen.update(trained=texts) or windows(texts, *rest))
    digest = lambda texts: seen.update(held_out=[text.text for text in texts]) or "digest"  # noqa: E731
    monkeypatch.setattr(pipeline, "texts_digest", digest)
    from cdeval.lens.reading import windows

    typed("lens", [*arguments, "train=true", *SHORT, "positions=20"])
    expected = {
        name: {TEXT.format(i) for i in range(24) if in_split(f"text-{i}", split)}
        for name, split in (("trained", Split.tune), ("held_out", Split.test))
    }
    assert {name: set(texts) for name, texts in seen.items()} == expected
    assert all(expected.values())


MISTAKES: list[tuple[list[str], str]] = [
    (["layers=[2,12]"], "layers=12 is outside"),
    (["layers=[2,0]"], "layers=[2,0] is out of range"),
    (["layers=deep"], "layers=deep is out of range: expected a whole number of blocks"),
    (["prompts.split=all"], "expected tune or test"),
    (["study=runs/grid", "train=true"], "study= reads a study that is made"),
    (["fit.steps=0"], "fit.steps=0 is out of range: expected 1 to 1000000"),
    (["fit.window_tokens=1"], "expected 2 to 1000000"),
    (["fit.positions=10000", "fit.method=gradient"], "fit.positions=10000 is more than is read at a time"),
    (["fit.learning_rate=0"], "fit.learning_rate=0.0 is out of range"),
    (["fit.warm_up=2"], "fit.warm_up=2.0 is out of range"),
    (["fit.window_tokens=100000", "train=true"], "fewer than one window"),
    (["lenses=[tuned]"], "is what train=true or lens_file= adds"),
    (["lenses=[]"], "measures nothing"),
    (["train=true", "lens_file=a.safetensors"], "it would not be read"),
    (["lens_file=nowhere.safetensors"], "nowhere.safetensors is not a file"),
    (["out=scores.txt"], "one that ends with .json"),
    (["train=true", "out=lens.json"], "one that ends with .safetensors"),
    (["fit.step=3"], "Did you mean 'steps'?"),
    (["train=true", "fit.method=ridge"], "fit.method=ridge: expected one of least_squares, gradient, or a list"),
    (["train=true", "fit.method=[]"], "fit.method=[]: expected one of"),
    (["train=true", "fit.method=[gradient,gradient]"], "or a list of them, each once"),
    (["train=true", "fit.steps=3"], "fit.steps=3 is not read with fit.method=least_squares: add fit.method=gradient"),
    (["train=true", "fit.start=zero"], "fit.start=zero is not read with fit.method=least_squares"),
    (["train=true", "fit.method=gradient", "fit.ridge=1"], "fit.ridge=1.0 is not read with fit.start=zero"),
    (["train=true", "fit.method=gradient", "fit.weighting=equal"], "add fit.start=least_squares, or least_squares to"),
    (["train=true", "prompts.limit=1", "fit.window_tokens=16"], "at least 128 positions are wanted"),
    (["prune.blocks=12"], "L=12 blocks, of which one must be left: expected 1 to 11"),
    (["prune.by=kl"], "prune.by=kl is not read with prune.blocks=null: add prune.blocks=6"),
    (["prune.blocks=2", "train=true"], "it goes with none of train=true, prompt= and study="),
    (["prune.blocks=2", "layers=[4]"], "leave prune.blocks= out"),
]


@pytest.mark.parametrize(("more", "expected"), MISTAKES, ids=[" ".join(more) for more, _ in MISTAKES])
def test_a_mistake_gets_one_clear_message(
    more: list[str],
    expected: str,
    arguments: list[str],
    refused: Typed,
) -> None:
    assert expected in refused("lens", [*arguments, *more])


def test_blocks_to_leave_out_are_found_and_the_line_to_type_is_a_studys(
    arguments: list[str], typed: Typed, tmp_path: Path
) -> None:
    printed = typed("lens", [*arguments, "prune.blocks=2", "prune.search=span", "prune.by=kl", "prune.passages=3"])
    record = json.loads((tmp_path / "runs" / "lens" / "pruned.json").read_text())
    (step,) = record["steps"]
    assert step["left_out"][1] == step["left_out"][0] + 1
    assert record["held_out"]["left_out"] == step["left_out"]
    assert record["held_out"]["passages"] == step["passages"] == 3
    blocks = ",".join(map(str, step["left_out"]))
    assert f"to type: amateur=pruned amateur.left_out=[{blocks}]" in printed
    assert "searched by span, lowest KL, β=1 T=2, on 3 passages of the split tune of file" in printed
    told = typed("run", [*arguments, *STUDY, "study=used", "amateur=pruned", f"amateur.left_out=[{blocks}]"])
    assert f"pruned of {blocks}" in told


def test_a_prompt_with_commas_and_quotes_is_drawn(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    out = tmp_path / "picture.html"
    expert = [argument for argument in arguments if not argument.startswith("prompts")]  # a drawn prompt reads none
    printed = typed("lens", [*expert, f"out={out}", "layers=[4,8]", "prompt=It's a fox, a 'dog'"])
    assert str(out) in printed.replace("\n", "")
    assert "s a fox, a dog" in out.read_text(encoding="utf-8")  # the tiny tokenizer knows no quotes
    assert out.with_suffix(".png").is_file()
