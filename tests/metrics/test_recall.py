"""What scores are kept under: a recipe that changes makes every stored score of every study be computed again."""

from types import SimpleNamespace
from typing import Any

import pytest

from cdeval.config.schema import MetricsConfig
from cdeval.metrics import scorefile
from cdeval.metrics.judges.embedder import Embedder
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.means import Means
from cdeval.metrics.recall import Recall
from cdeval.metrics.registry import chosen_metrics
from cdeval.metrics.scorefile import recipe_digest
from cdeval.records import Generation

# First digits of each metric's recipe, as cdeval 0.1.0 wrote them into scores.npz before there was a registry.
RECIPES = {
    "diversity": "a6412b8857807fcf",
    "rep_2": "8293828127195fe9",
    "rep_3": "dd142d94ea8bd560",
    "rep_4": "1505a5b580ea2c5d",
    "mauve": "8a3563df4a70e045",
    "mauve_star": "64387a3657e1d0ad",
    "frontier_integral": "f2dd3414308390b0",
    "coherence": "0cecedf2669fb926",
    "coherence_loglik": "a1c309fad10ca091",
    "perplexity_expert": "dcb4820d5c5787b9",
    "tokens": "17dd5215e17a4530",
    "words": "7c9d8a3092f37151",
    "repetition_onset": "7a4d5180fc2ad1d2",
    "longest_repeat": "72317204ad6e3dd5",
    "entity_overlap": "133673c7c5a23922",
    "distinct_1": "a165535e6c901fa0",
    "distinct_2": "e4abb1fcf6db5c96",
    "distinct_3": "25c7b597de0cad75",
    "distinct_4": "2e46c5978ae88f9e",
    "self_bleu": "796ca55b16f6072e",
}


def text(words: str) -> Generation:
    return Generation("a", "The", (1,), "cat", words, (2, 3), -1.5, None)


def test_stored_scores_of_former_studies_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, order and recipes are those of studies that were scored before; another release may compute anew.

    What came later stands behind them.
    """
    monkeypatch.setattr(scorefile, "__version__", "0.1.0")
    model = SimpleNamespace(dtype="torch.float32", device=SimpleNamespace(type="cpu"))
    scorer: Any = SimpleNamespace(fingerprint="weights", model=model)
    judges = Judges(scorer, Embedder(lambda _: None, "note", fingerprint="embedder"))  # type: ignore[arg-type,return-value]
    config = MetricsConfig(extras=True)
    arms, means = {"one": [text("dog")], "human": [text("cat")]}, Means(judges, config, 7, human=[text("cat")])
    recall = Recall.for_arms(arms, chosen_metrics(config), means, {})
    found = {
        name: recipe_digest(name, recall.exact["one"], of_arms["one"], recall.settings)[:16]
        for name, of_arms in recall.bases.items()
    }
    assert list(found.items())[: len(RECIPES)] == list(RECIPES.items())
