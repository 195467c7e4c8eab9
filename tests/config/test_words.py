"""One name for one setting: what is stored of a setting is written as it is typed."""

from cdeval.config.enums import SearchKind
from cdeval.config.exits import AdaptiveExitConfig, Lens
from cdeval.config.fields import leaves
from cdeval.config.points import Point, Role
from cdeval.config.schema import AmateurConfig, ContrastConfig, RunConfig, SearchConfig
from cdeval.config.setting import setting_of
from cdeval.config.token_weight import Gate, Weight
from cdeval.config.words import in_words


def words(config: RunConfig) -> dict[str, object]:
    facts = Point(Role.arm, setting_of(config), "label", "digest").facts()["setting"]
    assert isinstance(facts, dict)
    return in_words(facts)


def test_every_word_is_one_that_can_be_typed() -> None:
    exits = AdaptiveExitConfig(threshold=0.9, layers=[8, 9], lens=Lens.linear)
    contrast = ContrastConfig(temperature=0.5, weight=Weight.entropy, gate=Gate.entropy, plausibility="top_k")
    search = SearchConfig(kind=SearchKind.sample, beams=1, top_p=0.9, adaptive_exit=exits)
    found = words(RunConfig(amateur=AmateurConfig(layer=6), contrast=contrast, search=search, seed=3))
    typed = set(leaves(RunConfig))
    assert {word for word in found if word not in typed} == {"amateur.layers"}, "candidates are typed as amateur.layer"
    assert (found["amateur.layer"], found["contrast.alpha"], found["seed"]) == (6, 1.0, 3)
    assert (found["search.kind"], found["search.top_p"]) == ("sample", 0.9)
    assert found["contrast.plausibility"] == "top_k"
    assert (found["contrast.weight"], found["contrast.gate"]) == ("entropy", "entropy")
    assert found["search.adaptive_exit.lens"] == "linear"


def test_human_texts_have_none() -> None:
    assert in_words({}) == {}
