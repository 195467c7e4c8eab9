import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from cdeval.records import Generation
from cdeval.texts.tokens import fingerprint_beside, with_tokens


def text(prompt: str, continuation: str) -> Generation:
    return Generation("1", prompt, (7,), None, continuation, (7, 7), None, None)


def test_prompt_and_continuation_are_read_each_on_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    (found,) = with_tokens([text("The quick", " brown fox")], tokenizer)
    assert tokenizer.decode(found.prompt_token_ids) == "The quick"
    assert tokenizer.decode(found.token_ids) == " brown fox"
    joined = tokenizer("The quick brown fox")["input_ids"]
    assert [*found.prompt_token_ids, *found.token_ids] == joined


def test_a_prompt_without_tokens_is_a_beginning_of_text(tokenizer: PreTrainedTokenizerFast) -> None:
    """A metric that conditions on the prompt would otherwise have no distribution for the first token."""
    empty, unknown = with_tokens([text("", "fox"), text("中", "")], tokenizer)
    assert empty.prompt_token_ids == unknown.prompt_token_ids == (tokenizer.bos_token_id,)
    assert unknown.token_ids == ()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"models": null}', '{"models": {"fingerprint": 3}}'])
def test_only_a_readable_provenance_says_whose_tokens_they_are(tmp_path: Path, content: str) -> None:
    """Tokens of an unknown model would be scored as another's."""
    assert fingerprint_beside(tmp_path / "generations.jsonl") is None
    (tmp_path / "provenance.json").write_text(content)
    assert fingerprint_beside(tmp_path / "generations.jsonl") is None
    (tmp_path / "provenance.json").write_text(json.dumps({"models": {"fingerprint": "abc"}}))
    assert fingerprint_beside(tmp_path / "generations.jsonl") == "abc"
