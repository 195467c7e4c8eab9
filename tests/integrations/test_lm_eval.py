"""The model `cdeval` of lm_eval: its settings, its answers request by request, and its costs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cdeval.api import Contrast, Search, decode
from cdeval.config.enums import Ban, SearchKind
from cdeval.errors import ConfigError, ModelError

pytest.importorskip("lm_eval", reason="lm_eval comes with the extra [lm-eval]")
from cdeval.integrations.lm_eval.arms import LikelihoodBy
from cdeval.integrations.lm_eval.model import CdevalLM, cut_before
from cdeval.integrations.lm_eval.settings import arm_of

ARGS = "dtype=float32,search=greedy,amateur.layer=6,amateur.lens=norm,contrast.temperature=0.5"
CONTEXTS = ["The quick brown fox", "Researchers said on Monday that", "A small model"]


def request(*arguments: Any, item: int = 0) -> Any:
    return SimpleNamespace(args=arguments, task_name="t", doc_id=item)


@pytest.fixture(scope="module")
def lm(tiny_gpt2_folder: Path) -> CdevalLM:
    """With what lm_eval's command hands over by itself: a GPU that is not there, and texts one by one."""
    usual = {"device": "cuda:0", "batch_size": 1, "max_batch_size": None}
    return CdevalLM.create_from_arg_string(f"pretrained={tiny_gpt2_folder},{ARGS}", usual)


def test_it_generates_what_cdeval_decodes_up_to_the_stop(lm: CdevalLM) -> None:
    wishes = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 0.7}
    found = lm.generate_until([request(text, wishes, item=at) for at, text in enumerate(CONTEXTS)])
    search = Search("greedy", max_new_tokens=8, ban=Ban.none)
    texts = decode(lm.expert, CONTEXTS, amateur=6, lens="norm", contrast=Contrast(temperature=0.5), search=search)
    assert found == [text.continuation for text in texts]
    stop = found[0][2:4]
    (cut,) = lm.generate_until([request(CONTEXTS[0], {**wishes, "until": [stop]})])
    assert cut == found[0].split(stop)[0] == cut_before(found[0], ["never there", stop])


def test_contexts_and_continuations_are_parted_as_lm_eval_does(lm: CdevalLM) -> None:
    """And a choice's likelihood is the sum of its parts: that of a beginning and of the rest after it."""
    first, second = " jumps", " over"
    whole, start, rest = lm.loglikelihood(
        [
            request(CONTEXTS[0], first + second),
            request(CONTEXTS[0], first),
            request(CONTEXTS[0] + first, second),
        ]
    )
    assert whole[0] == pytest.approx(start[0] + rest[0], abs=1e-4)
    assert lm.loglikelihood([request(f"{CONTEXTS[0]} ", "jumps")])[0][0] == pytest.approx(start[0], abs=1e-4)
    (rolled,) = lm.loglikelihood_rolling([request(CONTEXTS[2])])
    assert rolled == pytest.approx(lm.loglikelihood([request("", CONTEXTS[2])])[0][0], abs=1e-4)


def test_every_item_has_its_costs(lm: CdevalLM) -> None:
    lm.costs.clear()
    lm.loglikelihood([request(CONTEXTS[0], " jumps", item=1), request(CONTEXTS[0], " over", item=1)])
    lm.loglikelihood([request(CONTEXTS[0], " jumps", item=2)])
    assert set(lm.costs) == {("t", 1), ("t", 2)}
    assert lm.costs["t", 1].flops > lm.costs["t", 2].flops > 0
    assert all(cost.seconds > 0 for cost in lm.costs.values())


def test_what_does_not_fit_is_cut_at_its_beginning_or_refused(lm: CdevalLM) -> None:
    long = "the lazy dog " * 400
    tail = lm.loglikelihood([request(long, " jumps"), request(f"A {long}", " jumps")])
    assert tail[0] == tail[1], "only what fits is read"
    with pytest.raises(ModelError, match="max_gen_toks=600 leaves no room"):
        lm.generate_until([request(CONTEXTS[0], {"max_gen_toks": 600})])


def test_settings_have_the_names_of_the_commands() -> None:
    config, by = arm_of({"pretrained": "gpt2", "search": "nucleus", "contrast.alpha": 0.2, "likelihood": "expert"})
    assert (config.expert.name, config.search.kind, config.search.ban) == ("gpt2", SearchKind.sample, Ban.none)
    assert (config.contrast.alpha, by) == (0.2, LikelihoodBy.expert)
    assert arm_of({"arm": "min_p", "batch_size": 4})[0].execution.max_lanes == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"contrast.alhpa": 0.1}, "Did you mean 'alpha'"),
        ({"contrast.alpha": 2}, r"contrast\.alpha=2.* is out of range"),
        ({"metrics.only": "mauve"}, "metrics.only=mauve is not read here"),
        ({"likelihood": "both"}, "likelihood=both: Known: contrast, expert"),
        ({"trust_remote_code": True}, "code of the hub is never run"),
        ({"amateur": "none", "amateur.layer": 3}, "is not read with amateur=none"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arm_of(given)
