"""Texts of others in a model's tokens."""

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from cdeval.prompts.tokens import with_tokens
from cdeval.records import Generation
from tests.conftest import build_tokenizer


def text(prompt: str, continuation: str) -> Generation:
    return Generation("1", prompt, (7,), None, continuation, (7, 7), -1.5, None)


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


def test_what_a_tokenizer_puts_around_a_text_stands_before_the_prompt_only() -> None:
    """An appended end of text between prompt and continuation would make every first word a surprise."""
    tokenizer = build_tokenizer()
    plain = tokenizer("the dog")["input_ids"]
    around = TemplateProcessing(single="<|marker|> $A <|end|>", special_tokens=[("<|marker|>", 1), ("<|end|>", 0)])
    tokenizer.backend_tokenizer.post_processor = around
    found, empty = with_tokens([text("the dog", "the dog"), text("", "the dog")], tokenizer)
    assert list(found.prompt_token_ids) == [1, *plain]
    assert list(found.token_ids) == plain
    assert empty.prompt_token_ids == (tokenizer.bos_token_id,)


def test_other_tokens_have_no_log_probability(tokenizer: PreTrainedTokenizerFast) -> None:
    """The sum over another model's tokens would be divided by the number of these."""
    assert with_tokens([text("the", " dog")], tokenizer)[0].logprob_expert is None
