"""Ids that are tokens, ids that are none, and models that mean the same by them."""

import pytest

from cdeval.api import Search, decode
from cdeval.config.enums import Ban, SearchKind
from cdeval.errors import ModelError
from cdeval.models.loading import language_model
from cdeval.models.vocabulary import (
    Vocabulary,
    banned_tokens,
    check_same_vocabulary,
    end_tokens,
    first_difference,
    token_names,
)
from tests.conftest import build_model, build_tokenizer
from tests.small_tokenizers import with_holes

HOLES = {4, 5, 6, 7, 9, 13}


def test_every_id_of_the_vocabulary_is_a_token_and_no_other() -> None:
    tokenizer = with_holes()
    assert len(tokenizer) == 9, "the number of tokens is no bound of their ids"
    assert set(token_names(tokenizer)) == set(range(15)) - HOLES
    assert token_names(tokenizer)[14] == "<h>"


def test_tokens_that_are_added_later_are_known() -> None:
    """Kills: a vocabulary that was read once and remembered for ever."""
    own = build_tokenizer()
    before = set(token_names(own))
    own.add_tokens(["<new>"])
    assert set(token_names(own)) - before == {own.convert_tokens_to_ids("<new>")}


@pytest.mark.parametrize("rows", [15, 18])
def test_holes_and_padding_are_banned_and_the_last_tokens_are_not(rows: int) -> None:
    """Kills: range(len(tokenizer), rows), which bans the tokens of ids 9 and more and lets the holes be drawn."""
    model = build_model("gpt2", vocab_size=rows)
    assert set(banned_tokens(Ban.special, model, with_holes())) == {0} | HOLES | set(range(15, rows))
    assert banned_tokens(Ban.eos, model, with_holes()) == (0,)
    assert banned_tokens(Ban.none, model, with_holes()) == ()


def test_a_tokenizer_larger_than_the_head_bans_nothing_that_the_head_has_no_row_for() -> None:
    model = build_model("gpt2", vocab_size=11)
    assert set(banned_tokens(Ban.special, model, with_holes())) == {0} | {token for token in HOLES if token < 11}
    model.generation_config.eos_token_id = [2, 14]
    assert end_tokens(model, with_holes()) == (0, 2)


def test_rows_are_counted_in_the_head_and_not_in_the_configuration() -> None:
    model = build_model("gpt2", vocab_size=18)
    model.config.vocab_size = 15
    assert {15, 16, 17} < set(banned_tokens(Ban.special, model, with_holes()))


def test_only_tokens_are_drawn() -> None:
    """Every token comes up somewhere in the samples of a flat distribution, and no id without one does."""
    expert = language_model(build_model("gpt2", vocab_size=18), with_holes(), "holes")
    expert.model.lm_head.weight.zero_()
    search = Search(SearchKind.sample, beams=1, samples=8, max_new_tokens=64)
    drawn = {token for text in decode(expert, ["abc"], search=search) for token in text.token_ids}
    assert drawn == set(token_names(expert.tokenizer)) - {0}


def test_the_first_difference_is_found_behind_a_hole() -> None:
    ours, theirs = with_holes(), with_holes()
    assert first_difference(ours, theirs) is None
    theirs.add_tokens(["<more>"])
    assert first_difference(ours, theirs) == theirs.convert_tokens_to_ids("<more>")


def test_a_model_without_rows_for_ordinary_tokens_is_no_amateur() -> None:
    """Kills: tokens that get the amateur's lowest logit at every step, which the contrast then favours."""
    ours = Vocabulary("expert", with_holes(), 15)
    check_same_vocabulary(ours, Vocabulary("padded", with_holes(), 64))
    check_same_vocabulary(Vocabulary("small too", with_holes(), 11), Vocabulary("small", with_holes(), 11))
    with pytest.raises(ModelError, match=r"11 rows and none for 3 tokens .* first 11 \('f'\).*expert has 15 rows"):
        check_same_vocabulary(ours, Vocabulary("small", with_holes(), 11))
