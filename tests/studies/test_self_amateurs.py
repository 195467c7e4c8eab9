"""One study of everything that an expert can be to itself, from the command line to the table."""

import json
from pathlib import Path

from tests.commands import SMALL, TEXTS, cdeval


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
        *SMALL[:3],
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
