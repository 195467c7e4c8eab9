"""The expert's own early exits, against full re-computation of every text, and beside other lanes."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.decode import engine
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.lens import Translator, tuned_lens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.truncate import truncate
from tests.conftest import build_model
from tests.decode.exiting import Exiting
from tests.decode.oracles import blocks_and_logits, early_exit, naive_sample, naive_search, sampled, setting

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
DEPTH = 4  # of every tiny model
NONE: Mapping[int, Translator] = MappingProxyType({})
GREEDY = setting(search=SearchKind.greedy, beams=1)
CONTRASTED = early_exit(1, search=SearchKind.greedy, beams=1)
THRESHOLDS = {ConfidenceMeasure.softmax: 0.3, ConfidenceMeasure.saturation: 0.75}
TRUNCATED = Amateur("truncated", 2)


def exiting(how: Setting, measure: ConfidenceMeasure = ConfidenceMeasure.softmax, **changes: object) -> Setting:
    """With exits of the expert's own, above its amateur."""
    layers = (2, 3) if how.amateur.kind == "early_exit" else (1, 2, 3)
    plain: dict[str, object] = {"measure": measure, "threshold": THRESHOLDS[measure], "decay": 4.0, "layers": layers}
    return replace(how, adaptive_exit=AdaptiveExit(**{**plain, **changes}))  # type: ignore[arg-type]


KINDS = {
    "greedy": GREEDY,
    "beams": setting(beams=3),
    "sampled": sampled(top_p=0.9),
    "contrasted": CONTRASTED,
    "contrasted beams": early_exit(1, beams=3),
    "contrasted samples": sampled(early_exit(1, alpha=0.02)),
}


def naive(
    lm: LanguageModel, lane: Lane, *, propagate: bool = True, translators: Mapping[int, Translator] = NONE
) -> tuple[tuple[int, ...], float, Exiting]:
    forward = Exiting(lane.prompt, lane.setting, propagate=propagate, translators=translators)
    if lane.setting.search is SearchKind.sample:
        tokens, score, _ = naive_sample(lm, lane, forward)
    else:
        tokens, score = naive_search(lm, lane.prompt, lane.setting, forward=forward)
    return tokens, score, forward


def lanes_of(*settings: Setting) -> list[Lane]:
    return [Lane(prompt, how, f"p{i}") for i, prompt in enumerate(PROMPTS) for how in settings]


def check(lm: LanguageModel, lane: Lane, found: Continuation, translators: Mapping[int, Translator] = NONE) -> None:
    """Same text, same score, and every row went through as many blocks."""
    tokens, score, forward = naive(lm, lane, translators=translators)
    assert found.token_ids == tokens
    assert found.score == pytest.approx(score, abs=1e-3)
    if lane.setting.beams == 1:
        read = [(*lane.prompt, *tokens[:end]) for end in range(1, len(tokens))]
        assert list(found.exit_layers) == [forward.depths[text] for text in read]
    else:  # a beam that no plausible token was left for is read, too
        assert not Counter(forward.depths.values()) - Counter(found.exit_layers)
        assert len(found.exit_layers) == lane.setting.beams * (len(tokens) - 1)


@pytest.mark.parametrize("measure", list(ConfidenceMeasure))
@pytest.mark.parametrize("kind", KINDS)
def test_an_exiting_text_is_the_naive_one(any_tiny: LanguageModel, kind: str, measure: ConfidenceMeasure) -> None:
    """Exits of every row at its own block, and the state at the exit in the caches of the blocks that were skipped."""
    how = replace(exiting(KINDS[kind], measure), max_new_tokens=10)
    lanes = lanes_of(how)
    for lane, found in zip(lanes, decode_batch(any_tiny, lanes, 3)[0], strict=True):
        check(any_tiny, lane, found)


@pytest.mark.parametrize("measure", list(ConfidenceMeasure))
@pytest.mark.parametrize("kind", KINDS)
def test_an_exit_through_a_lens_is_translated_for_the_head_and_for_nobody_else(
    two_tiny: LanguageModel, kind: str, measure: ConfidenceMeasure
) -> None:
    """Beside lanes that exit without one: each row has its own lens, layer and measure."""
    how = replace(exiting(KINDS[kind], measure, linear=True, threshold=0.05), max_new_tokens=8)
    assert how.adaptive_exit is not None
    layers, reader = how.adaptive_exit.layers, how.adaptive_exit.read_as
    assert reader is not None
    draw = torch.Generator().manual_seed(1)
    made = {k: Translator(0.5 * torch.randn(32, 32, generator=draw), torch.randn(32, generator=draw)) for k in layers}
    plain = replace(how, adaptive_exit=replace(how.adaptive_exit, linear=False))
    lanes = lanes_of(how, plain)
    found, _ = decode_batch(two_tiny, lanes, 3, amateur_models={reader: tuned_lens(made, {})})
    for lane, one in zip(lanes, found, strict=True):
        check(two_tiny, lane, one, made if lane.setting is how else NONE)
    assert min(layer for one in found[::2] for layer in one.exit_layers) < DEPTH, "or nothing was seen"


@pytest.mark.parametrize("measure", list(ConfidenceMeasure))
def test_exits_are_mixed_and_their_states_are_seen_by_later_tokens(
    measure: ConfidenceMeasure, tiny: Callable[[str], LanguageModel]
) -> None:
    """Else the test above saw nothing: without propagation other texts or scores come out."""
    depths: Counter[int] = Counter()
    moved = 0
    for architecture in ("gpt2", "llama", "phi", "opt"):
        for lane in lanes_of(exiting(GREEDY, measure)):
            tokens, score, forward = naive(tiny(architecture), lane)
            depths.update(forward.depths.values())
            other, other_score, _ = naive(tiny(architecture), lane, propagate=False)
            moved += other != tokens or abs(other_score - score) > 0.01
    assert len(depths) > 2, depths
    assert depths[DEPTH], depths
    assert moved, "what skipped blocks keep of a token makes no difference here"


def test_a_threshold_that_is_never_reached_is_the_plain_expert(any_tiny: LanguageModel) -> None:
    """An off-by-one of layers, or a state that leaks from the step before, would show."""
    for how in (GREEDY, setting(), CONTRASTED):
        never = [exiting(how, measure, threshold=1.0, decay=0.0) for measure in ConfidenceMeasure]
        plain, _ = decode_batch(any_tiny, lanes_of(how), 4)
        for one in never:
            found, _ = decode_batch(any_tiny, lanes_of(one), 4)
            assert [answer.token_ids for answer in found] == [answer.token_ids for answer in plain]
            assert [answer.score for answer in found] == pytest.approx([answer.score for answer in plain], abs=1e-4)
            assert all(set(answer.exit_layers) == {DEPTH} for answer in found)
            assert all(len(answer.exit_layers) == how.beams * (how.max_new_tokens - 1) for answer in found)
        assert all(answer.exit_layers == () for answer in plain)


def test_exits_that_are_always_taken_are_the_first_blocks_as_a_model(any_tiny: LanguageModel) -> None:
    """From the second token on: the prompt is read by all blocks, and the first token chosen by them."""
    always = exiting(GREEDY, layers=(2,), threshold=0.0, decay=1e9)
    first_blocks = truncate(any_tiny, 2)
    plain, _ = decode_batch(any_tiny, lanes_of(GREEDY), 4)
    for lane, whole, found in zip(lanes_of(always), plain, decode_batch(any_tiny, lanes_of(always), 4)[0], strict=True):
        first, *rest = found.token_ids
        assert first == whole.token_ids[0]
        shallow = Lane((*lane.prompt, first), replace(GREEDY, max_new_tokens=len(rest)))
        (expected,), _ = decode_batch(first_blocks, [shallow], 4)
        assert tuple(rest) == expected.token_ids
        assert set(found.exit_layers) == {2}


def test_lanes_with_and_without_exits_do_not_feel_each_other(tiny: Callable[[str], LanguageModel]) -> None:
    """All in one pass against each alone: measures, layers and thresholds belong to lanes."""
    lm = tiny("llama")
    amateur_models = {TRUNCATED: truncate(lm, 2)}
    settings = [
        GREEDY,
        exiting(GREEDY),
        exiting(GREEDY, ConfidenceMeasure.saturation),
        exiting(GREEDY, threshold=0.1, layers=(3,)),
        exiting(GREEDY, threshold=0.6, decay=0.0, layers=(1,)),
        CONTRASTED,
        exiting(CONTRASTED),
        exiting(replace(CONTRASTED, amateur=TRUNCATED)),
    ]
    lanes = lanes_of(*settings)
    together, _ = decode_batch(lm, lanes, 3, amateur_models=amateur_models)
    for lane, found in zip(lanes, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 0, amateur_models=amateur_models)
        assert (found.token_ids, found.exit_layers) == (alone.token_ids, alone.exit_layers)
        assert found.score == pytest.approx(alone.score, abs=1e-3)
    assert len({(found.token_ids, found.exit_layers) for found in together[: len(settings)]}) > 5


def test_an_amateur_that_shares_the_blocks_reads_all_of_its_own(tiny: Callable[[str], LanguageModel]) -> None:
    """The truncated expert passes through the hooks of the exits, too: there they must do nothing."""
    early = 0
    for architecture in ("llama", "gpt2"):
        lm = tiny(architecture)
        read_early = early_exit(2, search=SearchKind.greedy, beams=1)
        how = exiting(replace(read_early, amateur=TRUNCATED), layers=(1, 3))
        lanes = lanes_of(how)
        for lane, found in zip(
            lanes, decode_batch(lm, lanes, 4, amateur_models={TRUNCATED: truncate(lm, 2)})[0], strict=True
        ):
            exits = Exiting(lane.prompt, how)

            def forward(
                lm: LanguageModel, ids: tuple[int, ...], exits: Exiting = exits
            ) -> tuple[list[torch.Tensor], torch.Tensor]:
                return blocks_and_logits(lm, ids)[0], exits(lm, ids)[1]

            assert found.token_ids == naive_search(lm, lane.prompt, read_early, forward=forward)[0]
            early += found.exit_layers.count(1)
    assert early, "nobody exited below the amateur's last block: the test saw nothing"


def test_a_batch_that_is_decoded_again_keeps_the_second_exits_only(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With alpha near 0 more tokens are plausible than the candidate-only head looks at, which
    a GPU hears at the end."""
    monkeypatch.setattr(engine, "ASKED_AT_EVERY_STEP", ())
    crowded = replace(CONTRASTED, alpha=1e-9, normalizer=Normalizer.candidates)
    gained: list[int] = []
    lanes = lanes_of(exiting(crowded))
    found, _ = decode_batch(tiny("gpt2"), lanes, 4, gained.append)
    assert min(gained) < 0, "it was not crowded"
    for lane, answer in zip(lanes, found, strict=True):
        check(tiny("gpt2"), lane, answer)


def test_a_text_that_ends_has_the_rows_that_were_read_until_then(tokenizer: PreTrainedTokenizerFast) -> None:
    """The lane goes on in the batch; what it reads after its end must not be counted."""
    model = build_model("phi")
    model.lm_head.bias[0] = 3.0
    lm = language_model(model, tokenizer, "ending")
    how = exiting(sampled(setting(ban=Ban.none, max_new_tokens=16), top_p=0.95))
    lanes = [Lane(prompt, how, f"p{i}", sample) for i, prompt in enumerate(PROMPTS) for sample in range(3)]
    rows = set()
    for lane, found in zip(lanes, decode_batch(lm, lanes, 0)[0], strict=True):
        forward = Exiting(lane.prompt, how)
        tokens, _, ended = naive_sample(lm, lane, forward)
        assert (found.token_ids, found.ended) == (tokens, ended)
        assert found.exit_layers == tuple(forward.depths.values())
        assert len(found.exit_layers) == len(tokens) + ended - 1
        rows.add(len(found.exit_layers))
    assert len(rows) > 2, "too few endings to see anything"


def test_the_first_token_is_chosen_by_all_blocks(tiny: Callable[[str], LanguageModel]) -> None:
    one = exiting(replace(GREEDY, max_new_tokens=1), threshold=0.0)
    plain, _ = decode_batch(tiny("opt"), lanes_of(replace(GREEDY, max_new_tokens=1)), 4)
    found, _ = decode_batch(tiny("opt"), lanes_of(one), 4)
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in plain]
    assert all(answer.exit_layers == () for answer in found)


def test_what_cannot_be_is_refused(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(ValueError, match="hides its amateur"):
        exiting(CONTRASTED, layers=(1, 2))
    with pytest.raises(ValueError, match="ascending"):
        exiting(GREEDY, layers=())
    search = exiting(setting(search=SearchKind.contrastive_search, beams=3, penalty=0.6))
    with pytest.raises(ValueError, match="no early exits"):
        decode_batch(tiny("gpt2"), lanes_of(search), 4)


def test_hooks_are_gone_after_a_failure(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("gpt2")
    before = [len(block._forward_hooks) for block in lm.parts.blocks]
    expected, _ = decode_batch(lm, lanes_of(GREEDY), 4)

    def fail(_tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_batch(lm, lanes_of(exiting(GREEDY)), 4, fail)
    assert [len(block._forward_hooks) for block in lm.parts.blocks] == before
    assert [found.token_ids for found in decode_batch(lm, lanes_of(GREEDY), 4)[0]] == [
        found.token_ids for found in expected
    ]
