import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cdeval.metrics.judges.likelihood import with_known_logprobs
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation
from cdeval.score.beside import ban_beside, fingerprint_beside


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"models": null}', '{"models": {"fingerprint": 3}}'])
def test_only_a_readable_provenance_says_whose_tokens_they_are(tmp_path: Path, content: str) -> None:
    """Tokens of an unknown model would be scored as another's."""
    assert fingerprint_beside(tmp_path / "generations.jsonl") is None
    (tmp_path / "provenance.json").write_text(content)
    assert fingerprint_beside(tmp_path / "generations.jsonl") is None
    (tmp_path / "provenance.json").write_text(json.dumps({"models": {"fingerprint": "abc"}}))
    assert fingerprint_beside(tmp_path / "generations.jsonl") == "abc"


OURS = {"fingerprint": "its own", "dtype": "float32", "ban": "special"}
CASES = [({}, True), ({"ban": "eos"}, True), ({"ban": "free"}, True), ({"ban": "none"}, False), ({"ban": None}, False)]
OTHERS = [({"dtype": "bfloat16"}, False), ({"fingerprint": "another"}, False)]


@pytest.mark.parametrize(("change", "expected"), [*CASES, *OTHERS])
def test_log_probabilities_are_the_models_in_its_format_and_of_whole_texts(
    tmp_path: Path, tiny: Callable[[str], LanguageModel], change: dict[str, str], expected: bool
) -> None:
    """bfloat16's differ in the third digit, and a text that ended by itself counts a token that it does not hold."""
    model, facts = tiny("gpt2"), {**OURS, **change}
    fingerprint = model.fingerprint if facts["fingerprint"] == "its own" else facts["fingerprint"]
    record = {"models": {"fingerprint": fingerprint, "dtype": facts["dtype"]}}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    assert ban_beside(tmp_path / "generations.jsonl", model) is None, "nobody says that no text ended by itself"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"search": {"ban": facts["ban"]}}))
    ban = ban_beside(tmp_path / "generations.jsonl", model)
    text = Generation("1", "p", (5,), None, "t", (6,), -1.5, -1.5)
    assert (with_known_logprobs([text], ban)[0].logprob_expert == -1.5) is expected
