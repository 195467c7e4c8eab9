"""Numbers by which no token can be chosen fail their lane, wherever they arise; a legal −inf does not."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, Pool, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.decode.engine import decode_batch
from cdeval.decode.finite import Cause, not_finite
from cdeval.decode.lanes import Continuation, Lane
from cdeval.decode.selection import divergence
from cdeval.models.lens import Translator, TunedLens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.vocabulary import banned_tokens
from tests.conftest import build_model
from tests.decode.oracles import chosen_exit, early_exit, naive_search, sampled, setting

PROMPT = (5, 17, 40, 8, 77)
OTHER = (90, 3, 3, 61, 20)
SECOND = Amateur("model", name="second")
SEARCHES = {
    "beam": setting(),
    "greedy": setting(search=SearchKind.greedy, beams=1),
    "sample": sampled(top_k=20, top_p=0.9, typical_p=0.9, eta=0.01),
    "contrastive search": setting(search=SearchKind.contrastive_search, beams=3, penalty=0.6),
    "exit": early_exit(2),
    "candidates": early_exit(2, normalizer=Normalizer.candidates),
    "pool": early_exit(2, pool=Pool.local, expert_top_k=50, min_tokens=2),
    "second model": setting(amateur=SECOND),
    "free ends": setting(ban=Ban.none),
    "adaptive": setting(adaptive_exit=AdaptiveExit(ConfidenceMeasure.softmax, 0.9, 4.0, (2, 3))),
}


def with_logits(lm: LanguageModel, change: Callable[[torch.Tensor], torch.Tensor]) -> "Patched":
    return Patched(lm.parts.head, change)


class Patched:
    """A module whose output is changed for a while."""

    def __init__(self, module: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._module, self._change = module, change

    def __enter__(self) -> None:
        def hook(_module: object, _inputs: object, output: object) -> object:
            if isinstance(output, tuple):
                return (self._change(output[0]), *output[1:])
            assert isinstance(output, torch.Tensor)
            return self._change(output)

        self._handle = self._module.register_forward_hook(hook)

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def run(
    lm: LanguageModel, settings: list[Setting], prompts: tuple[tuple[int, ...], ...] = (PROMPT,)
) -> list[Continuation]:
    lanes = [Lane(prompt, how) for prompt in prompts for how in settings]
    found, _ = decode_batch(lm, lanes, 4, amateur_models={SECOND: lm})
    return found


def at(token: int, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., token] = value
        return logits

    return change


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", SEARCHES)
def test_one_logit_that_is_no_number_fails_every_search(
    tiny: Callable[[str], LanguageModel], name: str, value: float
) -> None:
    """Whatever token has it: likely or not, banned or not."""
    lm = tiny("llama")
    for token in (0, 60, 127):
        with with_logits(lm, at(token, value)):
            (found,) = run(lm, [SEARCHES[name]])
        assert found.fault is not None, (name, token)
        assert found.fault.step == 0


@pytest.mark.parametrize("name", SEARCHES)
def test_nothing_possible_fails_and_an_impossible_token_does_not(
    tiny: Callable[[str], LanguageModel], name: str
) -> None:
    lm, how = tiny("llama"), SEARCHES[name]
    with with_logits(lm, lambda logits: torch.full_like(logits, -math.inf)):
        (found,) = run(lm, [how])
    assert found.fault is not None
    plain = run(lm, [how])[0]
    unused = next(token for token in range(2, 120) if token not in plain.token_ids)

    def lowest_out(logits: torch.Tensor) -> torch.Tensor:
        """The rows that pad the vocabulary and whatever is least likely, as masked models have them."""
        logits = logits.clone()
        logits[..., 126:] = -math.inf
        return logits.scatter(-1, logits[..., :126].argmin(dim=-1, keepdim=True), -math.inf)

    with with_logits(lm, lowest_out):
        (found,) = run(lm, [how])
    assert found.fault is None, unused
    assert math.isfinite(found.logprob_expert)


@pytest.mark.parametrize("ban", [Ban.special, Ban.eos])
def test_a_banned_token_is_not_decoded_for_want_of_others(tiny: Callable[[str], LanguageModel], ban: Ban) -> None:
    lm = tiny("gpt2")

    def only_the_end(logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, -math.inf).index_fill(-1, torch.tensor([0]), 1.0)

    searches = [SEARCHES[name] for name in ("beam", "greedy", "sample", "contrastive search", "exit")]
    for how in searches:
        with with_logits(lm, only_the_end):
            (found,) = run(lm, [replace(how, ban=ban)])
        assert found.fault is not None
        assert found.fault.cause is Cause.banned
    with with_logits(lm, only_the_end):  # where it may end, the text has ended, which is no fault
        (found,) = run(lm, [setting(ban=Ban.none)])
    assert found.fault is None
    assert (found.token_ids, found.ended) == ((), True)


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "second model"])
def test_the_step_is_the_first_and_other_lanes_are_as_they_were(
    tiny: Callable[[str], LanguageModel], name: str
) -> None:
    """A block of the expert overflows for one prompt, from its fourth forward pass on."""
    lm, how = tiny("llama"), SEARCHES[name]
    expected = run(lm, [how], (OTHER,))
    passes = 0

    def overflow(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes < 4:
            return hidden
        hidden = hidden.clone()
        hidden[0] = math.inf
        return hidden

    with Patched(lm.parts.blocks[-1], overflow):
        bad, good = run(lm, [how], (PROMPT, OTHER))
    assert bad.fault is not None
    # Contrastive search reads its candidates before it chooses among them.
    assert bad.fault == ((2 if name == "contrastive search" else 3), Cause.expert)
    assert good.fault is None
    assert good.token_ids == expected[0].token_ids
    assert good.score == pytest.approx(expected[0].score, abs=1e-3)


def test_a_text_that_has_ended_cannot_fail_any_more(tokenizer: PreTrainedTokenizerFast) -> None:
    """So a lane's answer does not depend on the lanes that run on beside it."""
    model = build_model("phi")
    lm = language_model(model, tokenizer, "ending")
    calls = 0

    def ends_then_breaks(logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        logits = logits.clone()
        if calls == 3:
            logits[0, :, 0] = 1e4
        if calls > 3:
            logits[0] = math.nan
        return logits

    for how in (setting(ban=Ban.none), sampled(setting(ban=Ban.none))):
        calls = 0
        with with_logits(lm, ends_then_breaks):
            first, second = run(lm, [how], (PROMPT, OTHER))
        assert first.fault is None
        assert first.ended
        assert len(first.token_ids) <= 2
        assert second.fault is None


@pytest.mark.parametrize(
    "amateur",
    [
        Amateur("early_exit", 2),
        chosen_exit((2, 3), selection=Selection.jsd),
        *(chosen_exit((2, 3), selection=Selection.confidence, measure=one, threshold=0.9) for one in ConfidenceMeasure),
    ],
    ids=["fixed", "jsd", "softmax", "saturation"],
)
@pytest.mark.parametrize("search", ["beam", "sample"])
def test_an_exit_through_a_broken_lens(tiny: Callable[[str], LanguageModel], amateur: Amateur, search: str) -> None:
    """The expert is sound and one layer's translator is not: not even a choice among layers may step around it."""
    lm = tiny("llama")
    broken = Translator(torch.full((32, 32), math.nan), torch.zeros(32))
    sound = Translator(torch.zeros(32, 32), torch.zeros(32))
    tuned = replace(amateur, lens=Lens.tuned, lens_file="lens")
    how = setting(amateur=tuned, temperature=0.5)
    lens = TunedLens({2: broken, 3: sound}, {}, "")
    lane = Lane(PROMPT, how if search == "beam" else sampled(how))
    plain = Lane(PROMPT, replace(lane.setting, amateur=Amateur()))
    (found, beside), _ = decode_batch(lm, [lane, plain], 4, amateur_models={tuned: lens})
    if (
        amateur.measure is ConfidenceMeasure.saturation
    ):  # which asks the states before the lens: the broken one may go unread
        assert found.fault is None or found.fault.cause is Cause.contrast
    else:
        assert found.fault == (0, Cause.contrast)
    assert beside.fault is None


def test_an_amateur_that_is_no_number(tiny: Callable[[str], LanguageModel], tokenizer: PreTrainedTokenizerFast) -> None:
    lm = tiny("gpt2")
    other = language_model(build_model("gpt2", seed=1), tokenizer, "second")
    for value in (math.nan, math.inf):
        with with_logits(other, at(60, value)):
            (found,), _ = decode_batch(lm, [Lane(PROMPT, setting(amateur=SECOND))], 4, amateur_models={SECOND: other})
        assert found.fault == (0, Cause.contrast)
    with with_logits(other, at(127, -math.inf)):  # a row of padding
        (found,), _ = decode_batch(lm, [Lane(PROMPT, setting(amateur=SECOND))], 4, amateur_models={SECOND: other})
    assert found.fault is None


def test_float16_that_overflows(tokenizer: PreTrainedTokenizerFast) -> None:
    """As large models in float16 do: an activation beyond 65504."""
    model = build_model("llama")
    model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    lm = language_model(model, tokenizer, "sound")
    assert run(lm, [setting()])[0].fault is None
    half = language_model(model.to(torch.float16), tokenizer, "half")
    (found,) = run(half, [setting()])
    assert found.fault is not None
    message = str(not_finite(found.fault, half, "text-3", setting()))
    for part in ("half", "float16", "'text-3'", "new token 1 of 12", "expert.dtype=float32"):
        assert part in message


def test_a_temperature_that_divides_every_score_away(tiny: Callable[[str], LanguageModel]) -> None:
    (found,) = run(tiny("gpt2"), [sampled(temperature=1e-42)])
    assert found.fault is not None


def test_no_banned_token_hides_in_a_divergence() -> None:
    """Tokens that are impossible on both sides add nothing: the choice among layers stays the others'."""
    torch.manual_seed(0)
    p, q = torch.randn(2, 12).log_softmax(-1)
    padded_p, padded_q = (torch.cat([one, torch.tensor([-math.inf] * 3)]) for one in (p, q))
    assert float(divergence(padded_p, padded_q)) == pytest.approx(float(divergence(p, q)))
    assert math.isnan(float(divergence(padded_p, padded_q.index_fill(0, torch.tensor([0]), math.nan))))


def test_layers_are_chosen_beside_a_padded_vocabulary(tiny: Callable[[str], LanguageModel]) -> None:
    """Padding rows at −inf made every divergence NaN, and the first candidate was always chosen."""
    lm = tiny("llama")
    how = setting(amateur=chosen_exit((1, 2, 3), selection=Selection.jsd), max_new_tokens=8)
    plain = run(lm, [how])[0]
    rows = [*banned_tokens(Ban.special, lm.model, lm.tokenizer)]
    with with_logits(lm, lambda logits: logits.index_fill(-1, torch.tensor([126, 127]), -math.inf)):
        (found,) = run(lm, [how])
        tokens, score = naive_search(lm, PROMPT, how)
    assert {126, 127} <= set(rows)
    assert found.fault is None
    assert plain.fault is None
    assert found.token_ids == tokens
    assert found.score == pytest.approx(score, abs=1e-3)
