import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cdeval.config.enums import Codebook
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.errors import ConfigError, ModelError
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges import clusters, opening
from cdeval.metrics.judges.embedder import Embedder
from cdeval.metrics.judges.likelihood import nll_rows as real
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.mauve import MEASURES
from cdeval.metrics.means import Means
from cdeval.metrics.recall import Before
from cdeval.metrics.registry import Place, all_metrics, chosen_metrics
from cdeval.metrics.suite import measure_arms, score_study
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation

METRICS = tuple(metric.name for metric in all_metrics() if metric.place is not Place.extra)
EXTRAS = tuple(metric.name for metric in all_metrics() if metric.place is Place.extra)
COUNTS = {"tokens", "words"}  # an empty text has 0 of them
SOME = {"repetition_onset", "entity_overlap"}  # not every text repeats, or names somebody
CONFIG = MetricsConfig(mauve_seeds=2, bootstrap_draws=200)


def embed(texts: list[str]) -> np.ndarray:
    """Letters counted, so that like texts are near and all texts have a direction."""
    return np.array([[text.count(letter) + 0.1 for letter in "aeioust"] for text in texts], dtype=np.float32)


@pytest.fixture
def judges(tiny: Callable[[str], LanguageModel]) -> Judges:
    return Judges(tiny("gpt2"), Embedder(embed, "letters"))


@pytest.fixture
def write(tiny: Callable[[str], LanguageModel]) -> Callable[[str, int], list[Generation]]:
    """Arms of 24 texts whose words and tokens belong together."""
    tokenizer = tiny("gpt2").tokenizer
    words = ["quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "runs", "into", "forest", "near", "river"]

    def arm(kind: str, seed: int) -> list[Generation]:
        rng = np.random.default_rng(seed)
        texts = []
        for i in range(24):
            chosen = ["dog"] * 12 if kind == "dull" else rng.choice(words, size=12).tolist()
            ids = tokenizer(" " + " ".join(chosen))["input_ids"][:20]
            prompt = f"the {words[i % 10]}"
            texts.append(
                Generation(
                    f"{i}",
                    prompt,
                    tuple(tokenizer(prompt)["input_ids"]),
                    "r",
                    tokenizer.decode(ids),
                    tuple(ids),
                    None,
                    None,
                )
            )
        return texts

    return arm


def test_known_truths(judges: Judges, write: Callable[[str, int], list[Generation]]):
    human, dull, varied = write("varied", 0), write("dull", 0), write("varied", 1)
    scores = score_study({"dull": dull, "varied": varied, "human": human}, human, judges, CONFIG).scores
    assert list(scores) == ["dull", "varied", "human"]
    assert all(tuple(found) == METRICS for found in scores.values())
    assert scores["dull"]["diversity"].value < 0.2
    assert scores["varied"]["diversity"].value > 0.5
    assert scores["dull"]["mauve"].value < scores["varied"]["mauve"].value
    assert scores["varied"]["tokens"].value == 20
    assert math.isnan(scores["human"]["mauve"].value)
    product = np.prod([1 - scores["varied"][f"rep_{order}"].value for order in (2, 3, 4)])
    assert scores["varied"]["diversity"].value == pytest.approx(product)
    for name, found in scores["varied"].items():
        if name not in SOME:
            assert found.low <= found.value <= found.high
            assert (found.n, found.missing) == (24, 0)
    assert scores["dull"]["repetition_onset"].value == 1
    assert scores["dull"]["longest_repeat"].value > scores["varied"]["longest_repeat"].value


def test_arms_score_the_same_alone(judges: Judges, write: Callable[[str, int], list[Generation]]):
    """What is shared between arms (embeddings, features, batches) must not leak from one to the other.

    The codebook does on purpose, unless it is pairwise.
    """
    human, one, two = write("varied", 0), write("varied", 1), write("dull", 2)
    config = replace(CONFIG, mauve_codebook=Codebook.pairwise)
    together = score_study({"two": two, "one": one}, human, judges, config, seed=3).scores["one"]
    alone = score_study({"one": one}, human, judges, config, seed=3).scores["one"]
    for name in METRICS:
        assert together[name].value == pytest.approx(alone[name].value, rel=1e-6, nan_ok=True), name
        assert together[name].low == pytest.approx(alone[name].low, rel=1e-6, nan_ok=True), name


def test_empty_continuations_are_counted_and_never_zero(judges: Judges, write: Callable[[str, int], list[Generation]]):
    human, arm = write("varied", 0), write("varied", 1)
    full = score_study({"arm": arm[1:]}, human, judges, CONFIG).scores["arm"]
    arm[0] = replace(arm[0], continuation="", token_ids=())
    found = score_study({"arm": arm}, human, judges, CONFIG).scores["arm"]
    for name in set(METRICS) - COUNTS - SOME:
        assert (found[name].n, found[name].missing) == (23, 1), name
        assert found[name].value == pytest.approx(full[name].value, rel=1e-6), name
    for name in SOME:
        assert (found[name].n, found[name].missing) == (full[name].n, full[name].missing + 1), name
    assert (found["tokens"].n, found["tokens"].missing) == (24, 0)
    assert found["tokens"].value == pytest.approx(20 * 23 / 24)


def test_nothing_to_score_is_nan_with_a_reason(judges: Judges, write: Callable[[str, int], list[Generation]]):
    silent = [replace(text, continuation="", token_ids=()) for text in write("varied", 0)]
    for arm in (silent, []):
        found = score_study({"arm": arm}, write("varied", 1), judges, CONFIG).scores["arm"]
        for name in set(METRICS) - COUNTS:
            assert math.isnan(found[name].value), name
            assert (found[name].n, found[name].missing) == (0, len(arm)), name
            assert found[name].note, name


def test_one_text_has_values_but_no_intervals(judges: Judges, write: Callable[[str, int], list[Generation]]):
    found = score_study({"arm": write("varied", 0)[:1]}, None, judges, CONFIG).scores["arm"]
    for name in set(METRICS) - set(MEASURES) - SOME:
        assert math.isfinite(found[name].value), name
        assert math.isnan(found[name].low), name


def test_samples_of_a_prompt_are_resampled_together(judges: Judges, write: Callable[[str, int], list[Generation]]):
    """Every text twice is not twice as many texts: values and intervals stay, and MAUVE reads the first ones only."""
    human, arm = write("varied", 0), write("varied", 1)
    once = score_study({"arm": arm}, human, judges, CONFIG).scores["arm"]
    twice = score_study({"arm": [*arm, *arm]}, human, judges, CONFIG).scores["arm"]
    for name in METRICS:
        assert twice[name].value == pytest.approx(once[name].value, rel=1e-6, nan_ok=True), name
        assert twice[name].low == pytest.approx(once[name].low, rel=1e-6, nan_ok=True), name
        assert twice[name].n == (1 if name in MEASURES else 2) * once[name].n, name


def test_only_what_is_chosen_is_computed_and_needs_its_model(write: Callable[[str, int], list[Generation]]):
    """Words need no model at all; what needs one says so instead of loading a default."""
    nobody = Judges(None, "/no/such/embedder")
    chosen = replace(CONFIG, only=["words", "diversity"])
    assert list(score_study({"arm": write("varied", 0)}, None, nobody, chosen).scores["arm"]) == ["diversity", "words"]
    with pytest.raises(ValueError, match=r"needs judges\.scorer"):
        score_study({"arm": write("varied", 0)}, None, nobody, replace(CONFIG, only=["perplexity_expert"]))
    with pytest.raises(ConfigError, match="Did you mean 'words'"):
        score_study({}, None, nobody, replace(CONFIG, only=["word"]))


def test_extras_are_asked_for(write: Callable[[str, int], list[Generation]]):
    arms = {"dull": write("dull", 0), "varied": write("varied", 0)}
    assert tuple(metric.name for metric in chosen_metrics(CONFIG)) == METRICS
    assert tuple(metric.name for metric in chosen_metrics(replace(CONFIG, extras=True))) == (*METRICS, *EXTRAS)
    registered = {metric.name: metric for metric in all_metrics()}
    without_models = [name for name in EXTRAS if not registered[name].needs]
    scores = score_study(arms, None, Judges(None, ""), replace(CONFIG, only=["words", *without_models])).scores
    for found in scores.values():
        assert tuple(found) == ("words", *without_models)
        assert "equal amounts" in found["distinct_2"].note
        assert math.isnan(found["distinct_2"].low)
    assert scores["dull"]["distinct_2"].value < scores["varied"]["distinct_2"].value


def test_rows_are_what_the_scores_are_made_of(judges: Judges, write: Callable[[str, int], list[Generation]]):
    """Paired comparisons read these rows: one a text, in the order of the arm, with its prompt's id."""
    arm = write("varied", 1)
    found, _ = measure_arms({"arm": arm}, {metric: ["arm"] for metric in chosen_metrics(CONFIG)}, Means(judges, CONFIG))
    rows = {metric: one.rows for metric, one in found["arm"].items() if one.rows is not None}
    scores = score_study({"arm": arm}, None, judges, CONFIG).scores["arm"]
    assert {metric.name for metric in rows} == set(METRICS) - set(MEASURES)
    for metric, of_arm in rows.items():
        assert of_arm.ids == tuple(text.id for text in arm)
        present = of_arm.values[~np.isnan(of_arm.values).any(axis=1)]
        if len(present):
            statistic = metric.statistic(ProtocolConfig())
            assert float(statistic(present)) == pytest.approx(scores[metric.name].value), metric.name


def test_an_unreadable_embedder_fails_before_the_model_runs(
    judges: Judges, write: Callable[[str, int], list[Generation]]
):
    """The cheap mistakes show first: a wrong folder must not cost an hour of scoring."""
    calls: list[object] = []
    hook = judges.scorer.model.register_forward_pre_hook(lambda *seen: calls.append(seen))
    with pytest.raises(ModelError, match="not a folder"):
        score_study({"arm": write("varied", 0)}, None, replace(judges, embedder="/no/such/folder"), CONFIG)
    hook.remove()
    assert not calls


def test_a_named_embedder_is_loaded_on_the_models_device(
    judges: Judges, write: Callable[[str, int], list[Generation]], monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        opening, "load_embedder", lambda name, device, **_: (asked.append((name, device)), Embedder(embed, "named"))[1]
    )
    found = score_study({"arm": write("varied", 0)}, None, replace(judges, embedder="some/name"), CONFIG).scores["arm"]
    assert asked == [("some/name", "cpu")]
    assert found["coherence"].note == "named"


def test_notes_name_the_models(judges: Judges, write: Callable[[str, int], list[Generation]]):
    found = score_study({"arm": write("varied", 0)}, write("varied", 1), judges, CONFIG).scores["arm"]
    assert found["coherence"].note == "letters"
    assert "tiny gpt2 (the model that generated the arms)" in found["perplexity_expert"].note
    assert found["coherence_loglik"].note.endswith(found["perplexity_expert"].note)
    assert "tiny gpt2" in found["mauve"].note


def test_the_featurizer_changes_mauve_only(
    judges: Judges, tiny: Callable[[str], LanguageModel], write: Callable[[str, int], list[Generation]]
):
    human, arm = write("varied", 0), write("varied", 1)
    own = score_study({"arm": arm}, human, judges, CONFIG).scores["arm"]
    other = score_study({"arm": arm}, human, replace(judges, featurizer=tiny("llama")), CONFIG).scores["arm"]
    assert "tiny llama" in other["mauve"].note
    assert other["mauve"].value != own["mauve"].value
    rest = [name for name in METRICS if name not in MEASURES]
    assert [other[name] for name in rest] == [own[name] for name in rest]


def test_another_judge_of_likelihood_reads_the_words_and_is_named(
    judges: Judges, tiny: Callable[[str], LanguageModel], write: Callable[[str, int], list[Generation]]
):
    """The expert's token ids mean nothing to another model, and its own texts are likelier to it: both are said."""
    arm = write("varied", 1)
    own = score_study({"arm": arm}, None, judges, CONFIG).scores["arm"]
    other = score_study({"arm": arm}, None, replace(judges, likelihood=tiny("llama")), CONFIG).scores["arm"]
    assert "tiny llama (another model" in other["perplexity_expert"].note
    assert "as it tokenises them" in other["perplexity_expert"].note
    assert other["perplexity_expert"].value != own["perplexity_expert"].value
    changed = {"perplexity_expert", "coherence_loglik"}
    assert all(other[name] == own[name] for name in set(METRICS) - changed - set(MEASURES))
    foreign = score_study({"arm": arm}, None, replace(judges, wrote=False), CONFIG).scores["arm"]
    assert "(another model" in foreign["perplexity_expert"].note


def test_a_second_scoring_asks_no_model(judges: Judges, write: Callable[[str, int], list[Generation]], tmp_path: Path):
    """Rows on disk give the same scores, number for number."""
    human, arm = write("varied", 0), write("varied", 1)
    kept = replace(judges, cache=FeatureCache(tmp_path), embedder=Embedder(embed, "letters", "letters"))
    first = score_study({"arm": arm}, human, kept, CONFIG).scores
    calls: list[object] = []
    hooks = [
        module.register_forward_pre_hook(lambda *seen: calls.append(seen))
        for module in (judges.scorer.model, judges.scorer.model.base_model)
    ]
    silent = replace(kept, embedder=Embedder(lambda texts: calls.append(texts) or embed(texts), "letters", "letters"))
    again = score_study({"arm": arm}, human, silent, CONFIG).scores
    for hook in hooks:
        hook.remove()
    assert not calls
    assert again == first


def test_arms_that_join_later_are_clustered_with_those_before_and_nothing_else_is_made_again(
    judges: Judges, write: Callable[[str, int], list[Generation]], monkeypatch: pytest.MonkeyPatch
):
    """Two commands on one study: the scores of one command on all arms, to the last digit."""
    human, one, two = write("varied", 0), write("varied", 1), write("dull", 2)
    arms = {"one": one, "two": two, "human": human}
    known = replace(judges, embedder=Embedder(embed, "letters", "letters"))
    whole = score_study(arms, human, known, CONFIG, against={"one": "two"})
    first = score_study({"one": one, "human": human}, human, known, CONFIG)
    read = []
    monkeypatch.setattr(
        opening, "nll_rows", lambda scorer, texts, cache: read.append(len(texts)) or real(scorer, texts, cache)
    )
    before = {label: Before(kept) for label, kept in first.kept.items()}
    joined = score_study(arms, human, known, CONFIG, against={"one": "two"}, before=before)
    assert read == [24], "of the new arm alone"
    assert repr(joined.scores) == repr(whole.scores)
    assert repr(joined.comparisons) == repr(whole.comparisons)
    assert first.scores["one"]["mauve"].note != joined.scores["one"]["mauve"].note
    again = {label: Before(kept) for label, kept in joined.kept.items()}
    monkeypatch.setattr(clusters, "cluster_arms", lambda *_: 1 / 0)
    assert repr(score_study(arms, human, known, CONFIG, before=again).scores) == repr(whole.scores)
