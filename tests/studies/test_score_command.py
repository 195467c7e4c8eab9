"""The score command, end to end on a tiny checkpoint: as a user types it, and as a user mistypes it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.report.publish import write_report
from cdeval.report.studyfiles import read_study
from cdeval.report.texts import side_by_side
from cdeval.score.pipeline import folder_names
from tests import commands

WORDS = [
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "and",
    "runs",
    "into",
    "the",
    "forest",
    "near",
    "the",
    "old",
    "river",
    "today",
]
Typed = Callable[[str, Sequence[str]], str]
NO_EMBEDDER = "metrics.only=[diversity,rep_2,mauve,perplexity_expert,tokens,words,longest_repeat,entity_overlap]"


def items(shift: int) -> list[dict[str, object]]:
    """Twelve prompts; a shift makes another arm's texts."""
    return [
        {
            "prefix_text": f"the {WORDS[i]} fox",
            "reference_text": " " + " ".join(WORDS[i:] + WORDS[:i]),
            "generated_result": {"0": " " + " ".join((WORDS[i + shift :] + WORDS[: i + shift])[: 8 + i])},
        }
        for i in range(12)
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(items(3)))
    return path


def test_the_protocol_changes_the_numbers_and_the_table_says_which_made_them(tmp_path: Path, typed: Typed) -> None:
    """a b a b: 3 bigrams of which 2 differ; simctg sees the first two only, which differ both."""
    repeats = [{"prompt": "p", "continuation": "a b a b a b c d e f g"}]
    (tmp_path / "t.json").write_text(json.dumps(repeats))
    shown, values = {}, {}
    for protocol in ("corrected", "published"):
        out = tmp_path / protocol
        only = ["metrics.only=[diversity,words,rep_2]", f"protocol.diversity={protocol}", f"out={out}", "notes=all"]
        shown[protocol] = typed("score", [f"generations={tmp_path / 't.json'}", *only])
        values[protocol] = json.loads((out / "t" / "metrics.json").read_text())
        assert f"protocol.diversity={protocol}" in " ".join(shown[protocol].split())
        assert f"protocol.diversity={protocol}" in (out / "table.md").read_text()
    assert values["corrected"]["rep_2"]["value"] == pytest.approx(1 - 7 / 10)
    assert values["published"]["rep_2"]["value"] == round(100 * (1 - 6 / 9), 2) / 100
    assert set(values["corrected"]) == {"diversity", "rep_2", "words"}


def test_all_that_a_model_reads_is_scored_with_its_tokens(
    file: Path, tmp_path: Path, tiny_gpt2_folder: Path, typed: Typed
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(items(5)[:9]))
    out = tmp_path / "out"
    printed = typed(
        "score",
        [
            f"generations=[{file},{other}]",
            f"expert.name={tiny_gpt2_folder}",
            NO_EMBEDDER,
            "metrics.bootstrap_draws=100",
            "labels=[first arm,../second]",
            f"out={out}",
        ],
    )
    assert "re-tokenised" in printed
    assert "first arm 12, ../second 9; 9 in common" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        ".features",
        "comparisons.json",
        "figures",
        "first-arm",
        "human",
        "report.html",
        "report.md",
        "results.csv",
        "results.parquet",
        "results.tex",
        "scoring.json",
        "second",
        "shown.json",
        "table.md",
    ]
    page = (out / "report.html").read_bytes()
    assert f"to look at: {out / 'report.html'}" in printed
    assert write_report(out).read_bytes() == page, "cdeval.report makes the same page of the same files"
    shown = side_by_side(read_study(out))
    assert [len(prompt["texts"]) for prompt in shown] == [3] * 9 + [2] * 3, "two arms and the human texts"
    assert all(set(text["scores"]) == {"diversity", "perplexity_expert"} for text in shown[0]["texts"])
    compared = json.loads((out / "comparisons.json").read_text())
    assert {(found["arm"], found["against"]) for found in compared} == {("../second", "first arm")}
    assert {found["difference"]["n"] for found in compared if found["metric"] == "tokens"} == {9}, "paired by prompt"
    first = json.loads((out / "first-arm" / "metrics.json").read_text())
    assert "whether it generated them is not known" in first["perplexity_expert"]["note"]
    assert first["perplexity_expert"]["n"] == 12
    assert first["perplexity_expert"]["value"] > 1
    assert 0 < first["mauve"]["value"] <= 1
    human = json.loads((out / "human" / "metrics.json").read_text())
    assert human["mauve"]["value"] is None
    record = json.loads((out / "scoring.json").read_text())
    assert record["models"]["scorer"] == str(tiny_gpt2_folder)
    assert record["models"]["scorer_fingerprint"]
    assert len(record["scored"]["../second"]["sha256"]) == 64
    assert "/" not in record["scored"]["../second"]["file"]


@pytest.mark.long
def test_perplexity_is_that_of_the_texts_own_run(tmp_path: Path, tiny_gpt2_folder: Path, typed: Typed) -> None:
    """A study scored again gives the study's numbers: its own tokens are used, not those of its texts."""
    prompts = tmp_path / "p.jsonl"
    prompts.write_text("\n".join(json.dumps({"text": " ".join(WORDS[i:] + WORDS * 4)}) for i in range(4)))
    small = ["search.max_new_tokens=6", "metrics.bootstrap_draws=100", "cost.latency_repeats=0", "amateur=none"]
    more = ["prompts=file", f"prompts.path={prompts}", "prompts.prompt_tokens=8", "tracking=none", f"runs={tmp_path}"]
    names = "metrics.only=[perplexity_expert,tokens,diversity,mauve]"
    typed("run", [f"expert.name={tiny_gpt2_folder}", *small, *more, "study=s", names])
    study = tmp_path / "s"
    again = [f"generations={study}", f"expert.name={tiny_gpt2_folder}", names, "metrics.bootstrap_draws=100"]
    printed = typed("score", [*again, f"out={tmp_path / 'again'}"])
    assert "re-tokenised" not in printed
    (arm,) = [path for path in study.iterdir() if path.name.startswith("expert")]
    for folder, theirs in [(arm, "expert-alone-beam-5"), (next(study.glob("human*")), "human")]:
        before = json.loads((folder / "metrics.json").read_text())
        after = json.loads((tmp_path / "again" / theirs / "metrics.json").read_text())
        assert after == before
    # References that only a file of others has join the human texts, which have tokens of their own.
    (tmp_path / "more.json").write_text(json.dumps(items(3)))
    more = [f"generations=[{study},{tmp_path / 'more.json'}]", *again[1:], f"out={tmp_path / 'mixed'}"]
    assert "more, human: without tokens" in typed("score", more)
    human = json.loads((tmp_path / "mixed" / "human" / "metrics.json").read_text())
    assert (human["perplexity_expert"]["n"], human["perplexity_expert"]["missing"]) == (16, 0)


def test_odd_texts_have_clear_results(tmp_path: Path, tiny_gpt2_folder: Path, typed: Typed) -> None:
    """Empty, one-token, non-English and emoji texts, an empty prompt, half a character: counted, and nothing fails."""
    odd = ["", " ", "x", "中文字 中文字", "👩‍👩‍👧 yes 🎉", "a\r\nb", "plain words here and more"]
    lines = [{"prompt": "" if i == 2 else f"p{i}", "continuation": text} for i, text in enumerate(odd)]
    path = tmp_path / "odd.jsonl"
    path.write_bytes(
        "\n".join(json.dumps(line) for line in lines).encode() + b'\n{"prompt": "\\ud83d", "continuation": "h"}'
    )
    out = tmp_path / "out"
    typed("score", [f"generations={path}", f"expert.name={tiny_gpt2_folder}", NO_EMBEDDER, f"out={out}"])
    found = json.loads((out / "odd" / "metrics.json").read_text())
    assert found["perplexity_expert"]["missing"] == 1  # the empty one; a blank is a token
    assert found["words"]["n"] == 8
    assert found["longest_repeat"]["missing"] == 2
    assert found["mauve"]["note"] == "no human texts to compare with"
    assert found["diversity"]["missing"] == 7


def test_odd_texts_and_references_are_paired_where_both_have_tokens(
    tmp_path: Path, tiny_gpt2_folder: Path, typed: Typed
) -> None:
    """Empty texts, empty, missing and NaN references, one token, other scripts, emoji: MAUVE counts what it leaves
    out, and the arms are compared on the prompts that both have a value for."""
    odd = ["", "x", "中文字", "🎉", "שלום", "runs", "runs", "runs"]
    human = [" the fox", " dog", " the", " over", "🎉", "", None, float("nan")]
    lines = [{**item, "reference_text": reference} for item, reference in zip(items(3), human, strict=False)]
    texts = [{**item, "generated_result": text} for item, text in zip(lines, odd, strict=True)]
    more = [{**item, "prefix_text": f"then {item['prefix_text']}"} for item in items(4)]
    (tmp_path / "odd.json").write_text(json.dumps([*texts, *items(3)[8:], *more]))
    (tmp_path / "plain.json").write_text(json.dumps([*lines, *items(3)[8:], *more]))
    out = tmp_path / "out"
    files = f"generations=[{tmp_path / 'odd.json'},{tmp_path / 'plain.json'}]"
    small = [NO_EMBEDDER, "metrics.bootstrap_draws=100", "metrics.mauve_seeds=2", f"out={out}"]
    typed("score", [files, f"expert.name={tiny_gpt2_folder}", *small])
    found = json.loads((out / "odd" / "metrics.json").read_text())
    # The tokenizer knows Latin letters only: the three other scripts are texts without tokens, as the empty one is.
    assert (found["mauve"]["n"], found["mauve"]["missing"]) == (17, 7)
    assert (found["perplexity_expert"]["n"], found["perplexity_expert"]["missing"]) == (20, 4)
    assert 0 < found["mauve"]["value"] <= 1
    assert found["mauve"]["low"] is None, "fewer than 20 pairs"
    compared = {c["metric"]: c["difference"] for c in json.loads((out / "comparisons.json").read_text())}
    assert (compared["perplexity_expert"]["n"], compared["perplexity_expert"]["missing"]) == (20, 4)
    assert compared["mauve"]["value"] is None


def test_samples_of_a_prompt_are_one_unit(tmp_path: Path, typed: Typed) -> None:
    """Each text copied as a second sample: the same value, and not a narrower interval."""
    base = [*items(3), *({**item, "prefix_text": f"a {item['prefix_text']}"} for item in items(5))]
    once = [{**item, "generated_result": [item["generated_result"]["0"]]} for item in base]  # type: ignore[index]
    twice = [{**item, "generated_result": item["generated_result"] * 2} for item in once]  # type: ignore[operator]
    found = {}
    for name, content in [("once", once), ("twice", twice)]:
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        arguments = [f"generations={tmp_path / f'{name}.json'}", "metrics.only=[diversity,words]", f"out={tmp_path}"]
        printed = typed("score", arguments)
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert "48 texts of 24 prompts" in printed
    for metric in ("diversity", "words"):
        for end in ("value", "low", "high"):
            assert found["twice"][metric][end] == pytest.approx(found["once"][metric][end]), (metric, end)
        assert found["twice"][metric]["n"] == 48
        assert found["once"][metric]["low"] is not None


def test_pairs_go_out_and_votes_come_back(file: Path, tmp_path: Path, typed: Typed) -> None:
    """A rater who always prefers the arm, wherever it stands, gives it a win rate of 1."""
    out = tmp_path / "people"
    printed = typed("score", [f"generations={file}", "export=pairs", f"out={out}", "labels=[arm]"])
    assert "12 pairs of 'arm' and 'human'" in printed
    assert sorted(path.name for path in (out / "raters").iterdir()) == ["pairs.csv", "pairs.html"]
    key = json.loads((out / "key.json").read_text())
    votes = {code: "left" if pair["left"] == "arm" else "right" for code, pair in key["pairs"].items()}
    ballot = tmp_path / "ann.json"
    ballot.write_text(json.dumps({"sheet": key["sheet"], "rater": "ann", "votes": votes}))
    printed = typed("score", [f"votes={ballot}", f"key={out / 'key.json'}", f"out={out}"])
    assert "win 100.0 %" in printed
    found = json.loads((out / "preference.json").read_text())
    assert (found["win"]["value"], found["p"], found["left"]) == (1.0, 2 * 0.5**12, 0.5)


MISTAKES: list[tuple[list[str], str]] = [
    ([], "generations= has no value"),
    (["generations="], "generations= is empty: expected text"),
    (["generation=a"], "Did you mean 'generations'?"),
    (["generations=nowhere.json"], "generations=nowhere.json does not exist"),
    (["generations=texts.json", "metrics.only=[diversty]"], "Did you mean 'diversity'?"),
    (["generations=texts.json", "protocol.diversity=simctg"], "expected one of [corrected, published]"),
    (["generations=texts.json", "fields.continuation=text"], "'text' is missing"),
    (["generations=texts.json", "labels=[a,b]"], "names 2 arms, but there are 1"),
    (["generations=texts.json", "metrics.confidence=95"], "metrics.confidence=95.0 is out of range"),
    (["generations=texts.json", "study=a/b"], "cannot name a folder"),
    (["generations=texts.json", "pairs.limit=0"], "pairs.limit=0 is out of range"),
    (["generations=texts.json", "export=pears"], "expected one of [none, pairs]"),
    (["generations=texts.json", "out=texts.json", "metrics.only=[words]"], "A file is where a folder is needed"),
    (["votes=texts.json"], "votes= needs key="),
    (["votes=texts.json", "key=texts.json"], "is not a key file"),
    (["votes=texts.json", "key=k.json", "generations=texts.json"], "leave generations= and export= out"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[" ".join(given) for given, _ in MISTAKES])
def test_a_mistake_gets_one_clear_message(
    arguments: list[str],
    expected: str,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Typed,
) -> None:
    monkeypatch.chdir(file.parent)
    assert expected in refused("score", arguments)


@pytest.mark.long
def test_help_and_configuration_need_no_model(tmp_path: Path) -> None:
    for argument, expected in [("--help", "fields.prompt=question"), ("--cfg=job", "diversity: corrected")]:
        done = commands.typed("cdeval.score", [argument], tmp_path)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert "\namateur: " not in done.stdout, "a group that this command does not read"
    merged = commands.typed("cdeval.merge", ["--help"], tmp_path)
    assert "into=runs/all" in merged.stdout
    assert "expert" not in merged.stdout
    assert not list(tmp_path.iterdir())


def test_no_label_leaves_the_folder_or_shares_another_s() -> None:
    names = folder_names(["a/b c", "a b/c", "..", ".", "../../x", "human"])
    assert len(set(names.values())) == 6
    assert not any("/" in name or name.startswith(".") for name in names.values())
