"""Every peer makes the engine's own texts in float32: otherwise the bench would compare different work."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.bench.amateur import truncated
from cdeval.bench.ctranslate import Converted, ctranslate2
from cdeval.bench.peers import Ways, hugging_face, naive, ours
from cdeval.config.enums import SearchKind, TemperatureForm
from cdeval.config.setting import Setting
from cdeval.errors import ModelError
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.vocabulary import banned_tokens
from tests.conftest import build_model
from tests.decode.oracles import early_exit, naive_search, setting

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
TOKENS = 14


def engine(lm: LanguageModel, settings: Sequence[Setting]) -> tuple[tuple[int, ...], ...]:
    return ours(lm, PROMPTS, settings, max_lanes=64, compact_every=4)(TOKENS).texts


def test_our_texts_come_prompt_by_prompt_whatever_the_batches(tiny: Callable[[str], LanguageModel]) -> None:
    lm, settings = tiny("llama"), [early_exit(2, max_new_tokens=6), early_exit(2, alpha=0.3, max_new_tokens=6)]
    done = ours(lm, PROMPTS, settings, max_lanes=4, compact_every=0)(6)
    assert list(done.texts) == [naive_search(lm, prompt, how)[0] for prompt in PROMPTS for how in settings]
    assert done.peak_slots == 5 + 5 * 5, "the prompt, and five beams in each step after the first token"


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_hugging_faces_plain_search_makes_our_texts(two_tiny: LanguageModel, batch: int) -> None:
    how = setting()
    assert hugging_face(two_tiny, PROMPTS, [how], batch)(TOKENS).texts == engine(two_tiny, [how])


def test_hugging_faces_greedy_search_makes_our_texts(two_tiny: LanguageModel) -> None:
    how = setting(search=SearchKind.greedy, beams=1)
    assert hugging_face(two_tiny, PROMPTS, [how], 3)(TOKENS).texts == engine(two_tiny, [how])


@pytest.mark.parametrize("form", list(TemperatureForm))
def test_the_logits_processor_makes_our_texts(two_tiny: LanguageModel, form: TemperatureForm) -> None:
    """Also kills an amateur's cache that is not re-ordered with the beams, or re-ordered across prompts."""
    settings = [early_exit(2, temperature_form=form), early_exit(2, alpha=0.3, temperature_form=form)]
    amateur = truncated(two_tiny.model, 2)
    assert hugging_face(two_tiny, PROMPTS, settings, 2, amateur)(TOKENS).texts == engine(two_tiny, settings)


def test_help_for_the_prefill_changes_no_text_and_goes_with_the_pass(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    amateur, seen = truncated(lm.model, 2), []
    heads = [model.get_output_embeddings() for model in (lm.model, amateur)]
    watching = [
        head.register_forward_hook(lambda _m, given, _o: seen.append(given[0].is_contiguous())) for head in heads
    ]
    texts = {}
    for helped in (False, True):
        seen.clear()
        texts[helped] = hugging_face(lm, PROMPTS, [early_exit(2)], 3, amateur, Ways(helped=helped))(TOKENS).texts
        assert all(seen) == helped, "without help nothing is strided any more: drop it" if not helped else "no help"
    for hook in watching:
        hook.remove()
    assert texts[True] == texts[False]
    assert not any(head._forward_pre_hooks for head in heads), "the engine would be timed with the peers' help"


def test_an_arm_can_be_run_again(tiny: Callable[[str], LanguageModel]) -> None:
    """A processor that kept its cache from the warm-up would go on from there."""
    lm = tiny("gpt2")
    run = hugging_face(lm, PROMPTS, [early_exit(2)], 3, truncated(lm.model, 2))
    assert run(6).texts == run(6).texts


@pytest.mark.parametrize("form", list(TemperatureForm))
def test_the_seeds_way_makes_our_texts(two_tiny: LanguageModel, form: TemperatureForm) -> None:
    how = early_exit(3, temperature_form=form)
    assert naive(two_tiny, PROMPTS, how)(TOKENS).texts == engine(two_tiny, [how])


def test_a_truncated_model_ends_in_the_exits_logits_and_shares_its_weights(two_tiny: LanguageModel) -> None:
    ids = torch.tensor([PROMPTS[0]])
    small = truncated(two_tiny.model, 2)
    with tap(two_tiny.parts, [2]) as tapped:
        two_tiny.model(ids)
        expected = two_tiny.parts.logits(two_tiny.parts.finish(tapped[2]))
    torch.testing.assert_close(small(ids).logits, expected)
    theirs = {weight.data_ptr() for weight in two_tiny.model.parameters()}
    assert {weight.data_ptr() for weight in small.parameters()} <= theirs
    assert two_tiny.model.config.num_hidden_layers == 4, "the expert's own configuration must stay"


def convert(lm: LanguageModel, folder: Path) -> Converted:
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    return Converted(str(folder / "model"), folder / "converted")


def test_ctranslate2_makes_our_texts(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """It bans before its softmax, the others after: equal where banned tokens are improbable, as they are in use."""
    pytest.importorskip("ctranslate2")
    model = build_model("llama", vocab_size=len(tokenizer), tie_word_embeddings=False)  # it wants a token for every row
    lm, how = language_model(model, tokenizer, "tiny llama"), setting()
    banned = list(banned_tokens(how.ban, model, tokenizer))
    model.lm_head.weight.mul_(5.0)[banned] = 0.0
    converted = convert(lm, tmp_path)
    run = ctranslate2(converted.load("float32", torch.device("cpu")), converted.names, PROMPTS, how, banned)
    assert run(TOKENS).texts == engine(lm, [how])


def test_ctranslate2_bans_what_the_others_ban(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    model = build_model("llama", vocab_size=len(tokenizer), tie_word_embeddings=False)
    lm, how = language_model(model, tokenizer, "tiny llama"), setting()
    banned = list(banned_tokens(how.ban, model, tokenizer))
    favourite = engine(lm, [how])[0][0]
    model.lm_head.weight[banned] = 2 * model.lm_head.weight[favourite]
    converted = convert(lm, tmp_path)
    generator = converted.load("int8", torch.device("cpu"))
    free = ctranslate2(generator, converted.names, PROMPTS, how, banned[:1])(TOKENS).texts
    texts = ctranslate2(generator, converted.names, PROMPTS, how, banned)(TOKENS).texts
    assert set(banned) & {token for text in free for token in text}, "nothing needed a ban: the test saw nothing"
    assert all(len(text) == TOKENS and not set(text) & set(banned) for text in texts)


def test_a_machine_without_ctranslate2_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)  # what an import finds where it is not installed
    with pytest.raises(ModelError, match=r"pip install 'cdeval\[bench\]'"):
        Converted("anything", tmp_path)


def test_a_model_that_ctranslate2_cannot_read_leaves_it_out(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="cannot convert this model"):
        Converted(str(tmp_path / "model"), tmp_path / "converted")
