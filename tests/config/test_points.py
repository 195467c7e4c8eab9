"""Points: which rows a study has, and when two of them share a run folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.config.enums import Ban, Form, Normalizer, SearchKind, TopHForm
from cdeval.config.exits import AdaptiveExitConfig, ConfidenceMeasure, Lens, Selection
from cdeval.config.points import Point, Role, plan_points
from cdeval.config.schema import AmateurConfig, ContrastConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.records import Prompt
from cdeval.report.finished import Group, controls_among, finished_point

PROMPT = Prompt("a-1", "Once", (5, 6), " upon a time", (7, 8, 9))


def config(**changes: object) -> RunConfig:
    contrast = ContrastConfig(alpha=0.1, temperature=1.0)
    plain = RunConfig(expert=ExpertConfig(name="x"), amateur=AmateurConfig(layer=2), contrast=contrast)
    return replace(plain, **changes)  # type: ignore[arg-type]


def points(run: RunConfig, model: str = "weights", prompts: tuple[Prompt, ...] = (PROMPT,)) -> dict[Role, Point]:
    return {point.role: point for point in plan_points([run], lambda _amateur: model, prompts)}


def test_an_arm_comes_with_its_controls() -> None:
    assert list(points(config())) == [Role.arm, Role.control, Role.human]
    assert list(points(config(controls=False))) == [Role.arm]
    assert list(points(config(amateur=AmateurConfig("none")))) == [Role.arm, Role.human]
    no_reference = replace(PROMPT, reference=None, reference_token_ids=None)
    assert list(points(config(), prompts=(no_reference,))) == [Role.arm, Role.control]


def test_the_control_is_the_same_whatever_the_contrast() -> None:
    """Else a sweep would decode the expert alone once a point."""
    one, other = config(), config(amateur=AmateurConfig(layer=3))
    other.contrast.alpha = 0.5
    assert points(one)[Role.control] == points(other)[Role.control]
    assert points(one)[Role.arm].digest != points(other)[Role.arm].digest
    alone = points(config(amateur=AmateurConfig("none")))[Role.arm]
    assert alone.folder == points(one)[Role.control].folder


@pytest.mark.parametrize("part", ["model", "prompt", "search", "reference"])
def test_everything_that_shapes_a_text_changes_the_folder(part: str) -> None:
    changed = {
        "model": points(config(), model="other weights"),
        "prompt": points(config(), prompts=(replace(PROMPT, token_ids=(5, 7)),)),
        "search": points(config(search=SearchConfig(max_new_tokens=9))),
        "reference": points(config(), prompts=(replace(PROMPT, reference=" else"),)),
    }[part]
    assert changed[Role.arm].folder != points(config())[Role.arm].folder


def test_names_are_readable_and_fit_a_file_system() -> None:
    arm = points(config())[Role.arm]
    assert arm.label == "early_exit k=2 α=0.1 β=1 T=1, beam 5"
    assert arm.folder == f"early_exit-k2-a0.1-b1-t1-beam-5-{arm.digest[:8]}"
    greedy = points(config(search=SearchConfig(kind=SearchKind.greedy, beams=1)))[Role.control]
    assert greedy.label == "expert alone, greedy"
    assert greedy.folder.isascii()


@pytest.mark.parametrize("name", ["x" * 236, "é" * 120])
def test_a_folders_name_fits_a_file_system_however_long_a_models_is(name: str, tmp_path: Path) -> None:
    """A model's folder with a name that the disk could take made a run folder with one that it could not."""
    names = [points(config(amateur=AmateurConfig("model", name=f"{name}{end}")))[Role.arm].folder for end in "ab"]
    assert len(set(names)) == 2, "what differs behind the cut tells them apart"
    for folder in names:
        (tmp_path / folder).mkdir()


@pytest.mark.parametrize(
    ("amateur", "name"),
    [
        (AmateurConfig(layer=2, lens=Lens.raw), "early_exit k=2 raw lens"),
        (AmateurConfig(layer=2, lens=Lens.tuned, lens_file="a"), "early_exit k=2 tuned lens"),
        (AmateurConfig(layer=[2, 4], selection=Selection.jsd), "early_exit k=2,4 by jsd"),
        (AmateurConfig(layer=list(range(2, 12, 2)), selection=Selection.jsd), "early_exit k=2..10 (5) by jsd"),
        (
            AmateurConfig(layer=[2, 4], selection=Selection.confidence, threshold=0.9),
            "early_exit k=2,4 by softmax λ=0.9",
        ),
        (
            AmateurConfig(
                layer=[2, 4], selection=Selection.confidence, measure=ConfidenceMeasure.saturation, lens=Lens.raw
            ),
            "early_exit k=2,4 by saturation λ=0.5 raw lens",
        ),
    ],
)
def test_lenses_and_choices_are_in_the_label_and_in_the_digest(amateur: AmateurConfig, name: str) -> None:
    arm = points(config(amateur=amateur))[Role.arm]
    assert arm.label == f"{name} α=0.1 β=1 T=1, beam 5"
    assert arm.folder.isascii()
    assert arm.digest != points(config())[Role.arm].digest


def test_what_a_choice_does_not_read_tells_no_points_apart() -> None:
    """A threshold of confidence makes no difference to jsd, nor a measure to a fixed layer."""
    jsd = AmateurConfig(layer=[2, 4], selection=Selection.jsd)
    other = replace(jsd, threshold=0.9, measure=ConfidenceMeasure.saturation)
    assert points(config(amateur=jsd))[Role.arm] == points(config(amateur=other))[Role.arm]


def test_a_lens_is_told_by_its_content_and_not_by_its_name() -> None:
    """The content is in the identity, which is made of the weights in use."""
    one, copy = (config(amateur=AmateurConfig(layer=2, lens=Lens.tuned, lens_file=name)) for name in ("a", "b"))
    assert points(one)[Role.arm].digest == points(copy)[Role.arm].digest
    assert points(one, model="retrained")[Role.arm].digest != points(one)[Role.arm].digest


SAMPLING = SearchConfig(kind=SearchKind.sample, beams=1)


@pytest.mark.parametrize(
    ("search", "label"),
    [
        (SAMPLING, "sample τ=1"),
        (replace(SAMPLING, temperature=0.7, samples=3), "sample τ=.7 ×3"),
        (replace(SAMPLING, top_k=50), "top-k 50"),
        (replace(SAMPLING, top_p=0.95, samples=5), "nucleus p=.95 ×5"),
        (replace(SAMPLING, typical_p=0.95), "typical .95"),
        (replace(SAMPLING, min_p=0.1, temperature=1.5), "min-p .1 τ=1.5"),
        (replace(SAMPLING, eta=0.0003), "eta .0003"),
        (replace(SAMPLING, top_k=40, top_p=0.9), "top-k 40 nucleus p=.9"),
        (SearchConfig(kind=SearchKind.contrastive_search), "contrastive search k=5 α=.6"),
    ],
)
def test_searches_are_named_as_the_field_names_them(search: SearchConfig, label: str) -> None:
    arm = points(config(search=search, amateur=AmateurConfig("none")))[Role.arm]
    assert arm.label == f"expert alone, {label}"
    assert arm.folder.isascii()


def test_the_folder_of_a_sampled_arm_is_readable() -> None:
    arm = points(config(search=replace(SAMPLING, top_p=0.95, temperature=0.8, samples=3), seed=2))[Role.arm]
    assert arm.label == "early_exit k=2 α=0.1 β=1 T=1, nucleus p=.95 τ=.8 seed 2 ×3"
    assert arm.folder == f"early_exit-k2-a0.1-b1-t1-nucleus-p.95-tau.8-seed-2-x3-{arm.digest[:8]}"


def test_the_seed_shapes_sampled_texts_only() -> None:
    """Else a beam search of the same prompts would be decoded again for every seed."""
    for search, same in [(SearchConfig(), True), (SAMPLING, False)]:
        one, other = (points(config(search=search, seed=seed)) for seed in (0, 1))
        assert [one[role].digest == other[role].digest for role in (Role.arm, Role.control)] == [same, same]


@pytest.mark.parametrize("name", ["samples", "temperature", "top_k", "top_p", "min_p", "typical_p", "eta"])
def test_every_setting_of_a_draw_changes_the_folder(name: str) -> None:
    changed = replace(SAMPLING, **{name: 2 if name in {"samples", "top_k"} else 0.5})
    assert points(config(search=changed))[Role.arm].digest != points(config(search=SAMPLING))[Role.arm].digest


def test_several_settings_share_their_controls_and_each_has_its_own() -> None:
    """Two layers and a greedy arm, beside beam search that was asked for as an arm: each once, with its own control."""
    greedy = SearchConfig(kind=SearchKind.greedy, beams=1)
    runs = [
        config(amateur=AmateurConfig(layer=3)),
        config(amateur=AmateurConfig("none")),
        config(),
        config(search=greedy),
        config(),
    ]
    found = plan_points(runs, lambda _amateur: "weights", (PROMPT,))
    rows = [(point.role, point.label.replace(" α=0.1 β=1 T=1", ""), place) for point, place in found.items()]
    assert rows == [
        (Role.arm, "early_exit k=3, beam 5", 0),
        (Role.control, "expert alone, beam 5", 1),
        (Role.arm, "early_exit k=2, beam 5", 2),
        (Role.arm, "early_exit k=2, greedy", 3),
        (Role.control, "expert alone, greedy", 3),
        (Role.human, "human", 0),
    ]
    labels = [label for _, label, _ in rows]
    full = {short: point.label for short, point in zip(labels, found, strict=True)}
    group = Group("prompts", "weights", "float32")
    assert controls_among([finished_point(point, group) for point in found]) == {
        full["early_exit k=3, beam 5"]: "expert alone, beam 5",
        full["early_exit k=2, beam 5"]: "expert alone, beam 5",
        full["early_exit k=2, greedy"]: "expert alone, greedy",
    }
    baseline = [*runs, config(amateur=AmateurConfig("none"), search=SearchConfig(beams=3))]
    told = controls_among(
        [finished_point(point, group) for point in plan_points(baseline, lambda _amateur: "w", (PROMPT,))]
    )
    assert told["expert alone, beam 3"] == "expert alone, beam 5", "nobody's control is an arm as any other"


def test_equal_labels_are_told_apart() -> None:
    """Scores are kept by label: two settings under one would be one row, and one of them nobody's."""
    banned = [config(search=SearchConfig(ban=ban)) for ban in (Ban.special, Ban.eos)]
    found = list(plan_points(banned, lambda _amateur: "weights", (PROMPT,)))
    assert len({point.label for point in found}) == len(found) == 5
    assert len({point.folder for point in found}) == 5


def exits(**changes: object) -> SearchConfig:
    own = AdaptiveExitConfig(**{"threshold": 0.9, "layers": [5, 6, 7], **changes})  # type: ignore[arg-type]
    return SearchConfig(kind=SearchKind.greedy, beams=1, adaptive_exit=own)


ALONE = AmateurConfig("none")


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (exits(), "CALM k=5,6,7 by softmax λ=.9, greedy"),
        (exits(threshold=1.0, decay=0.0), "CALM k=5,6,7 by softmax λ=1 τ=0, greedy"),
        (
            exits(measure=ConfidenceMeasure.saturation, layers=list(range(5, 12))),
            "CALM k=5..11 (7) by saturation λ=.9, greedy",
        ),
    ],
)
def test_early_exits_of_the_expert_are_in_the_label_and_in_the_digest(own: SearchConfig, name: str) -> None:
    alone, contrasted = (points(config(search=own, amateur=amateur)) for amateur in (ALONE, AmateurConfig(layer=2)))
    assert alone[Role.arm].label == name
    assert contrasted[Role.arm].label == f"early_exit k=2 α=0.1 β=1 T=1, {name}"
    assert alone[Role.arm].folder.isascii()
    plain = points(config(search=SearchConfig(kind=SearchKind.greedy, beams=1)))
    for found in (alone, contrasted):
        assert found[Role.control] == plain[Role.control], "by all blocks, without a contrast"
        assert found[Role.arm].digest not in {plain[Role.arm].digest, plain[Role.control].digest}


@pytest.mark.parametrize(
    "change", [{"threshold": 0.8}, {"decay": 1.0}, {"measure": ConfidenceMeasure.saturation}, {"layers": [6]}]
)
def test_every_setting_of_an_early_exit_changes_the_folder(change: dict[str, object]) -> None:
    one, other = (points(config(search=search, amateur=ALONE)) for search in (exits(), exits(**change)))
    assert one[Role.arm].digest != other[Role.arm].digest


def ruled(**contrast: object) -> RunConfig:
    """The expert alone under a rule of plausibility."""
    return config(amateur=ALONE, search=SAMPLING, contrast=ContrastConfig(**contrast))  # type: ignore[arg-type]


def test_settings_that_were_there_before_keep_their_digests() -> None:
    """What is new must not tell the points of older studies apart from today's: they would be decoded again."""
    cut = {"expert_top_k": 50, "min_tokens": 2}
    narrow = ContrastConfig(alpha=0.3, beta=0.5, temperature=1.0, normalizer=Normalizer.candidates, **cut)
    greedy = SearchConfig(kind=SearchKind.greedy, beams=1)
    found = [
        config(),
        config(contrast=narrow, search=replace(SAMPLING, top_p=0.9, samples=2), seed=4),
        config(amateur=ALONE, search=replace(SAMPLING, min_p=0.1)),
        config(amateur=AmateurConfig("ngram"), search=greedy),
        config(amateur=ALONE, search=SearchConfig(kind=SearchKind.contrastive_search)),
        config(amateur=ALONE, search=exits()),
    ]
    arms = ["327a44af637e", "5781ca764fcd", "a1e08740ac68", "97a3089d549f", "536e8bb3343c", "9b3b24df02c5"]
    assert [points(one)[Role.arm].digest[:12] for one in found] == arms
    assert points(config())[Role.control].digest[:12] == "b964b025e8a6"


@pytest.mark.parametrize(
    ("contrast", "name"),
    [
        ({"plausibility": "min_p", "min_p": 0.05}, "min-p=0.05"),
        ({"plausibility": "alpha", "alpha": 0.3}, "min-p=0.3"),
        ({"plausibility": "top_n_sigma"}, "top-nσ=1"),
        ({"plausibility": "p_less"}, "p-less"),
        ({"plausibility": "p_less", "p_less_norm": True}, "p-less-norm"),
        ({"plausibility": "top_h", "h": 0.5}, "top-h=0.5"),
        ({"plausibility": "top_h", "top_h_form": TopHForm.renormalised}, "top-h=0.4 renormalised"),
        ({"plausibility": "min_k"}, "min-k τ=3"),
        ({"plausibility": "top_k", "min_tokens": 3}, "top-k=50 at least 3"),
        ({"plausibility": "nucleus", "expert_top_k": 9}, "nucleus p=0.95 top-9"),
        ({"plausibility": "typical"}, "typical=0.95"),
        ({"plausibility": "eta"}, "eta=0.0003"),
    ],
)
def test_a_rule_without_an_amateur_is_a_point_with_a_control(contrast: dict[str, object], name: str) -> None:
    found = points(ruled(**contrast))
    assert found[Role.arm].label == f"expert alone {name}, sample τ=1"
    assert found[Role.arm].folder.isascii()
    assert found[Role.control] == points(config(search=SAMPLING))[Role.control]
    with_amateur = points(config(search=SAMPLING, contrast=ContrastConfig(**contrast)))  # type: ignore[arg-type]
    assert with_amateur[Role.control] == found[Role.control]
    assert with_amateur[Role.arm].digest != found[Role.arm].digest


def test_what_a_rule_reads_tells_points_apart_and_nothing_else_does() -> None:
    rule = {"plausibility": "min_p"}
    first = points(ruled(**rule))[Role.arm]
    assert points(ruled(**rule, beta=0.5, h=0.9, alpha=0.7, form=Form.amplified))[Role.arm] == first
    assert points(ruled(plausibility="alpha", alpha=0.1))[Role.arm] == first, "they are one rule"
    others = [ruled(**rule, min_p=0.2), ruled(**rule, min_tokens=2), ruled(plausibility="top_h"), ruled()]
    others.append(ruled(plausibility="top_h", top_h_form=TopHForm.renormalised))
    assert len({points(one)[Role.arm].digest for one in [ruled(**rule), *others]}) == 6
    assert points(ruled(min_p=0.2, expert_top_k=3))[Role.arm] == points(ruled())[Role.arm], "no rule reads them"


def test_points_without_early_exits_keep_their_folders() -> None:
    """What is hashed of a setting has nothing of them, so studies from before they were there go on."""
    facts = points(config())[Role.arm].facts()
    assert isinstance(facts["setting"], dict)
    assert "adaptive_exit" not in facts["setting"]
