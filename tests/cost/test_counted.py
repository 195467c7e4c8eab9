"""The formula against torch's counter: whole lanes on shapes, and the engine's own products."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.cost.counted import count_lane
from cdeval.cost.flops import TokenFlops, lane_flops, token_flops
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.anatomy import dissect
from cdeval.models.loading import LanguageModel
from cdeval.models.shapes import without_weights
from cdeval.models.truncate import truncate
from tests.decode.oracles import chosen_exit, early_exit, sampled, setting

PROMPT, NEW = 5, 4
ATTENTION = {torch.ops.aten.bmm, torch.ops.aten.baddbmm}  # products of states with states


def on_paper(lm: LanguageModel) -> LanguageModel:
    model = without_weights(lm.model.config, torch.float32)
    return replace(lm, model=model, parts=dissect(model, lm.name))


def settings() -> dict[str, Setting]:
    own_pass = {name: setting(amateur=amateur, beams=3) for name, amateur in amateurs_with_a_pass().items()}
    jsd = chosen_exit((1, 2, 3), selection=Selection.jsd)
    sure = chosen_exit((1, 2, 3), selection=Selection.confidence, measure=ConfidenceMeasure.saturation, threshold=0.5)
    tuned = replace(early_exit(2).amateur, lens=Lens.tuned)
    greedy = {"search": SearchKind.greedy, "beams": 1}
    return {
        **own_pass,
        "alone": setting(beams=3),
        "alone greedy": setting(**greedy),
        "exit": early_exit(2, beams=3),
        "exit greedy": early_exit(2, **greedy),
        "exit candidates": early_exit(2, normalizer=Normalizer.candidates, **greedy),
        "exit tuned": setting(amateur=tuned, beams=3),
        "exit jsd": setting(amateur=jsd, beams=3),
        "exit sure": setting(amateur=sure, beams=3),
        "exit drawn": sampled(early_exit(2), top_p=0.9),
    }


def amateurs_with_a_pass() -> dict[str, Amateur]:
    cut = Amateur("truncated", layer=2)
    return {
        "truncated": cut,
        "truncated generated": replace(cut, context=Context.generated),
        "small": Amateur("model", name="small"),
    }


def second_of(lm: LanguageModel, how: Setting, small: Callable[[], LanguageModel]) -> LanguageModel | None:
    if how.amateur.kind == "truncated":
        return truncate(lm, 2)
    return small() if how.amateur.kind == "model" else None


def test_whole_lanes_cost_what_torch_counts_on_shapes(
    any_tiny: LanguageModel, tiny: Callable[[str], LanguageModel]
) -> None:
    """Kills: a coefficient that is wrong for grouped heads, gates, projections, odd widths, or for one amateur."""
    paper = on_paper(any_tiny)
    for name, one in settings().items():
        how = replace(one, max_new_tokens=NEW)
        second = second_of(paper, how, lambda: on_paper(tiny("gpt2")))
        formula = lane_flops(token_flops(paper), how, PROMPT, NEW, token_flops(second) if second else None)
        counted = count_lane(paper, how, PROMPT, NEW, second)
        assert formula.total == pytest.approx(counted.total, rel=0.01), name
        assert formula.amateur == pytest.approx(counted.amateur, rel=0.01), name
        assert (counted.amateur > 0) == how.amateur.contrasts, name


@pytest.mark.parametrize("name", [name for name in settings() if "candidates" not in name and "tuned" not in name])
def test_the_engine_multiplies_what_the_formula_says(tiny: Callable[[str], LanguageModel], name: str) -> None:
    """Kills: a formula that counts passes which the engine does not make, or the other way round.

    Without attention, which touches the masked slots of other beams, too: the formula's is held above.
    """
    lm = tiny("gpt2")
    how = replace(settings()[name], max_new_tokens=NEW)
    second: AmateurModel | None = second_of(lm, how, lambda: tiny("gpt2"))
    with FlopCounterMode(display=False) as counter:
        decode_batch(
            lm, [Lane(tuple(range(2, 2 + PROMPT)), how)], 0, amateur_models={how.amateur: second} if second else {}
        )
    amateur_flops = replace(token_flops(second), attention=0) if isinstance(second, LanguageModel) else None
    formula = lane_flops(replace(token_flops(lm), attention=0), how, PROMPT, NEW, amateur_flops)
    products = counter.get_flop_counts()["Global"]
    weighed = sum(flops for name, flops in products.items() if name not in ATTENTION)
    assert formula.total == pytest.approx(weighed, rel=0.01)


def test_exits_that_depend_on_the_text_are_not_counted(tiny: Callable[[str], LanguageModel]) -> None:
    own = AdaptiveExit(ConfidenceMeasure.softmax, 0.5, 4.0, (1, 3))
    with pytest.raises(ValueError, match="depends on the text"):
        count_lane(on_paper(tiny("gpt2")), setting(adaptive_exit=own), PROMPT, NEW)


def test_context_is_counted(tiny: Callable[[str], LanguageModel]) -> None:
    """Kills: a count at one context for all of them."""
    paper = on_paper(tiny("llama"))
    short, long = (count_lane(paper, setting(beams=2), tokens, NEW) for tokens in (2, 60))
    costs: TokenFlops = token_flops(paper)
    assert long.expert_decode - short.expert_decode == 2 * (NEW - 1) * 58 * costs.attention
