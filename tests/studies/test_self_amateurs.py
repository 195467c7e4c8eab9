"""One study of everything that an expert can be to itself, from the command line to the table, and from Python."""

import json
from pathlib import Path

import pytest

from cdeval.api import Contrast, Search, decode, load, prompts_from
from cdeval.errors import ConfigError, ModelError, PromptError
from tests.commands import CHEAP, TEXTS, cdeval


@pytest.mark.long
def test_all_of_them_are_one_study_that_is_resumed(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    """Their models are loaded side by side: noise reads the weights before they are packed, the others share them."""
    items = [
        {"id": f"p{i}", "context": text[:30], "prompt": text[30:60], "reference": text[60:90]}
        for i, text in enumerate(TEXTS)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)), "utf-8")
    arguments = [
        "--multirun",
        f"expert.name={tiny_gpt2_folder}",
        "expert.dtype=float32",
        "prompts=file",
        "prompts.path=items.jsonl",
        *CHEAP,
        "tracking=none",
        "study=self",
        "amateur=pruned,noise,masked_heads,context,truncated",
        "amateur.context=full,removed",
        "amateur.layer=6",
        "amateur.left_out=[3,4]",
        "amateur.heads=[2.1,12.4]",
        "contrast.weight=entropy",
        "contrast.gate=agreement",
        "search=greedy",
    ]
    done = cdeval(arguments, tmp_path)
    assert "amateur=context with amateur.context=full is the expert itself" in done.stderr
    assert done.returncode == 2, done.stderr
    study = tmp_path / "runs" / "self"
    points = {path.parent.name: json.loads(path.read_text()) for path in study.glob("*/provenance.json")}
    amateurs = {
        (point["models"].get("amateur") or {}).get("name", "") for point in points.values() if "models" in point
    }
    assert f"{tiny_gpt2_folder} without 2 blocks" in amateurs
    assert f"{tiny_gpt2_folder} without heads 2.1,12.4" in amateurs
    texts = {
        path.parent.name: [json.loads(line)["token_ids"] for line in path.read_text().splitlines()]
        for path in study.glob("*/generations.jsonl")
    }
    assert len(texts) == 9 + 2, "nine arms, their control and the human texts"
    assert all(len(lines) == 3 for lines in texts.values())
    table = (study / "table.md").read_text()
    for label in (
        "pruned of 3,4",
        "noise 4 bits",
        "masked heads 2.1,12.4",
        "expert removed context",
        "β=H where both agree",
    ):
        assert label in table
    again = cdeval(arguments, tmp_path)
    assert "continuations: decoding" not in again.stderr


# By the name of the amateur: its settings, and where they belong to the contrast.
NAMED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "pruned": ({"amateur.left_out": [3, 4]}, {"alpha": 0.1}),
    "noise": ({"amateur.bits": 3}, {"alpha": 0.1}),
    "masked_heads": ({"amateur.heads": ["2.1", "12.4"]}, {"alpha": 0.1}),
    "context": ({"amateur.context": "removed"}, {"alpha": 0.1}),
    "sled": ({"amateur.layer": [2, 5, 9]}, {"plausibility": "top_k", "top_k": 10, "beta": 8.0}),
}


@pytest.mark.long
def test_python_writes_the_texts_of_the_command(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    """Also of an expert whose weights were laid out for the processor, which noise must read."""
    items = [{"id": f"p{i}", "context": text[:30], "prompt": text[30:60]} for i, text in enumerate(TEXTS)]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)), "utf-8")
    common = [f"expert.name={tiny_gpt2_folder}", "prompts=file", "prompts.path=items.jsonl", *CHEAP]
    common += ["search=greedy", "tracking=none", "controls=false", "metrics.only=[words]"]
    expert = load(str(tiny_gpt2_folder))
    prompts = prompts_from(str(tmp_path / "items.jsonl"), expert)
    search = Search("greedy", beams=1, max_new_tokens=8)  # type: ignore[arg-type]
    seen = set()
    for name, (own, more) in NAMED.items():
        contrast = {"temperature": 1.0, **more}
        typed = [f"{key}={json.dumps(value)}".replace('"', "").replace(" ", "") for key, value in own.items()]
        typed += [f"contrast.{key}={value}" for key, value in contrast.items()]
        done = cdeval([*common, f"amateur={name}", f"study={name}", *typed], tmp_path)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / "runs" / name).glob("*/generations.jsonl")
        stored = {line["id"]: tuple(line["token_ids"]) for line in map(json.loads, path.read_text().splitlines())}
        found = decode(expert, prompts, amateur=name, settings=own, contrast=Contrast(**contrast), search=search)  # type: ignore[arg-type]
        assert {one.id: one.token_ids for one in found} == stored, name
        seen.add(tuple(one.token_ids for one in found))
    assert len(seen) == len(NAMED), "two amateurs made the same texts"


def test_mistakes_in_python_are_those_of_a_command(tiny_gpt2_folder: Path) -> None:
    expert = load(str(tiny_gpt2_folder))
    for name, own, error, message in (
        ("prune", {}, ConfigError, "Did you mean 'pruned'"),
        ("gpt2", {}, ConfigError, r"For another model give load\('gpt2'\)"),
        ("pruned", {"amateur.left_out": [0]}, ConfigError, "expected numbers of blocks"),
        ("pruned", {"amateur.left_out": [13]}, ModelError, "L=12 blocks"),
        ("pruned", {"amateur.bits": 3}, ConfigError, r"amateur\.bits=3 is not read with amateur=pruned"),
        ("pruned", {"amateur.left": 3}, ConfigError, "Did you mean 'amateur.left_out'"),
        ("noise", {"amateur.bits": 1}, ConfigError, r"amateur\.bits=1 is out of range"),
        ("masked_heads", {"amateur.heads": ["13.1"]}, ModelError, "13.1 is outside"),
        ("context", {"amateur.context": "removed"}, PromptError, "takes the `context` of every prompt away"),
        ("sled", {}, ModelError, "L=12"),
    ):
        with pytest.raises(error, match=message):
            decode(expert, ["The quick brown fox"], amateur=name, settings=own)  # type: ignore[arg-type]
