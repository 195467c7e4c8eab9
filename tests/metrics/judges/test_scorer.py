from collections.abc import Callable

from cdeval.metrics.judges.scorer import TextReader, equal_batches
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation


def test_every_index_once_and_never_two_keys_in_a_batch():
    keys = [3, 5, 3, 3, 5, 1, 3]
    batches = list(equal_batches(keys, lambda key: 2))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len({keys[index] for index in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 2


def test_a_text_too_large_for_the_bound_goes_alone():
    assert list(equal_batches([9, 9], lambda key: 0)) == [[0], [1]]


def test_a_reader_of_its_own_tokens_changes_nothing(tiny: Callable[[str], LanguageModel]):
    text = Generation("a", "the dog", (5, 6), None, " runs", (7,), None, None)
    assert TextReader(tiny("gpt2"), retokenise=False).read([text]) == [text]


def test_another_reader_tokenises_prompt_and_words(tiny: Callable[[str], LanguageModel]):
    judge = tiny("llama")
    text = Generation("a", "the dog", (5, 6), None, " runs", (7,), None, None)
    (read,) = TextReader(judge, retokenise=True).read([text])
    assert judge.tokenizer.decode(read.prompt_token_ids) == "the dog"
    assert judge.tokenizer.decode(read.token_ids) == " runs"
    assert (read.id, read.continuation) == (text.id, text.continuation)


def test_an_empty_prompt_begins_the_text(tiny: Callable[[str], LanguageModel]):
    """Without a token before it the first word would have no probability, and one text would stop the scoring."""
    judge = tiny("gpt2")
    (read,) = TextReader(judge, retokenise=True).read([Generation("a", "", (5,), None, "dog", (7,), None, None)])
    assert read.prompt_token_ids == (judge.tokenizer.bos_token_id,)
