"""Bytes moved, by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.setting import AdaptiveExit
from cdeval.cost.memory import weights_bytes
from cdeval.cost.traffic import TokenBytes, lane_bytes, token_bytes
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import chosen_exit, early_exit, setting

COSTS = TokenBytes(
    blocks=1000, head=300, head_token=2, logits=50, slot=7, translator=11, by_block=(250,) * 4, key_value=20
)


def test_a_lane_by_hand() -> None:
    """3 + 3 tokens, 2 beams: weights once a step whatever the beams, a shared past once, logits twice a row."""
    found = lane_bytes(COSTS, setting(beams=2), 3, 3)
    assert found.prefill == 1300 + 3 * 7 + 2 * 50
    assert found.decode == (1300 + (3 + 2) * 7 + 4 * 50) + (1300 + (4 + 2) * 7 + 4 * 50)
    assert found.amateur == 0
    assert found.per_token == (found.prefill + found.decode) / 3


def test_an_early_exit_reads_no_weights_again() -> None:
    rows = 1 + 2 + 2
    assert lane_bytes(COSTS, early_exit(1, beams=2), 3, 3).amateur == rows * 2 * 50
    candidates = early_exit(1, beams=2, normalizer=Normalizer.candidates)
    assert lane_bytes(COSTS, candidates, 3, 3).amateur == rows * 64 * 2
    tuned = early_exit(1, beams=2)
    tuned = replace(tuned, amateur=replace(tuned.amateur, lens=Lens.tuned))
    assert lane_bytes(COSTS, tuned, 3, 3).amateur == rows * 2 * 50 + 3 * 11
    jsd = setting(amateur=chosen_exit((1, 2), selection=Selection.jsd), beams=2)
    assert lane_bytes(COSTS, jsd, 3, 3).amateur == rows * 2 * 2 * 50


def test_an_amateur_of_its_own_reads_its_own() -> None:
    small = TokenBytes(blocks=100, head=30, head_token=2, logits=50, slot=3)
    how = setting(amateur=Amateur("model", name="small"), beams=2)
    whole = lane_bytes(COSTS, how, 3, 3, small)
    assert whole.amateur == lane_bytes(small, setting(beams=2), 3, 3).per_token * 3
    ignoring = replace(how, amateur=replace(how.amateur, context=Context.generated))
    assert lane_bytes(COSTS, ignoring, 3, 3, small).amateur == whole.amateur - 2 * 3 * 3, "two slots less, three times"


def test_an_exit_of_the_expert_saves_weights_where_all_beams_leave() -> None:
    own = AdaptiveExit(ConfidenceMeasure.saturation, 0.5, 4.0, (1, 2))
    plain = lane_bytes(COSTS, setting(beams=2), 3, 3).decode
    found = lane_bytes(COSTS, setting(beams=2, adaptive_exit=own), 3, 3, exit_layers=(1, 2, 1, 4))
    assert plain - found.decode == 2 * (250 - 20), "the second step needs all blocks for one of its beams"
    through = setting(beams=2, adaptive_exit=replace(own, linear=True))
    read = lane_bytes(replace(COSTS, translator=7), through, 3, 3, exit_layers=(1, 2, 1, 4)).decode
    assert read - found.decode == 4 * 7, "both layers are asked at both steps"


def test_contrastive_search_reads_the_last_candidates_too() -> None:
    how = setting(search=SearchKind.contrastive_search, beams=2)
    assert lane_bytes(COSTS, how, 3, 3).decode == lane_bytes(COSTS, setting(beams=2), 3, 4).decode


def test_constants_are_the_models_weights(tiny: Callable[[str], LanguageModel]) -> None:
    """Kills: reading an embedding table that is only looked up, or a tied head twice."""
    lm = tiny("llama")
    costs = token_bytes(lm)
    norms = 4 * (4 * 2 * 32 + 32)
    assert costs.blocks + costs.head + norms == weights_bytes(lm)
    assert costs.logits == 128 * 4
    assert token_bytes(tiny("opt_projected")).head > 0
    assert costs.head == pytest.approx(128 * costs.head_token)
