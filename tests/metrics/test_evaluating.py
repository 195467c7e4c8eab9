"""Metrics as evaluate's: loaded from their files without a network, and never loaded when nobody asks."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cdeval.config.enums import Codebook
from cdeval.config.schema import ExpertConfig, MetricsConfig
from cdeval.errors import ConfigError
from cdeval.metrics.adjusted_distinct import expectation_adjusted
from cdeval.metrics.compression import compression_ratio
from cdeval.metrics.distinct import distinct
from cdeval.metrics.diversity import diversity, ngram_counts
from cdeval.metrics.evaluating import as_generations, choice_of
from cdeval.score.config import ScoreConfig
from cdeval.score.pipeline import score_texts

METRICS = Path(__file__).resolve().parents[2] / "cdeval" / "metrics"
TEXTS = ["a b a b c d Paris", "the cat sat the cat sat"]

SCRIPT = """
import json, sys
import evaluate
texts, folder = json.loads(sys.argv[1]), sys.argv[2]
found = {}
for name in (
    "diversity", "distinct", "onset", "longest", "self_bleu", "compression", "self_repetition", "adjusted_distinct"
):
    found[name] = evaluate.load(f"{folder}/{name}.py").compute(predictions=texts)
samples = evaluate.load(f"{folder}/distinct_samples.py")
found["samples"] = samples.compute(predictions=[*texts, texts[0]], prompts=["x", "y", "x"])
found["entities"] = evaluate.load(f"{folder}/entities.py").compute(predictions=texts, prompts=["In Paris he", "x"])
metric = evaluate.load(f"{folder}/diversity.py")
found["published"] = metric.compute(predictions=texts, protocol="published")
found["empty"] = metric.compute(predictions=[])
print(json.dumps(found))
"""


WITH_MODELS = """
import json, sys
import evaluate
from cdeval.errors import CdevalError
columns, folder = json.loads(sys.argv[1]), sys.argv[2]
predictions = columns["predictions"]
metrics = {name: evaluate.load(f"{folder}/{name}.py") for name in ("coherence", "perplexity", "mauve")}
prompts = {"predictions": predictions, "prompts": columns["prompts"]}
references = {"predictions": predictions, "references": columns["references"]}
given = {"coherence": prompts, "perplexity": prompts, "mauve": references}
found = {name: metric.compute(**given[name]) for name, metric in metrics.items()}
found["empty"] = {
    name: metric.compute(**{column: [] for column in given[name]}) for name, metric in metrics.items()
}
found["errors"] = []
for name, options in json.loads(sys.argv[3]):
    try:
        metrics[name].compute(**given[name], **options)
    except CdevalError as error:
        found["errors"].append(str(error))
print(json.dumps(found))
"""
NOWHERE = "/no/such/folder"
MISTAKES = [
    (("coherence", {"embedder": NOWHERE}), f"{NOWHERE} is not a folder"),
    (("coherence", {"pooling": "max"}), "pooling='max': there is no such choice"),
    (("coherence", {"embedder": "embedded:minilmm"}), "Did you mean 'embedded:minilm'?"),
    (("perplexity", {"model": NOWHERE}), f"{NOWHERE} is not a folder"),
    (("perplexity", {"model": "gpt2"}), "the hub"),
    (("mauve", {"model": NOWHERE}), f"{NOWHERE} is not a folder"),
    (("mauve", {"codebook": "common"}), "codebook='common': there is no such choice"),
]


def python(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.long
def test_evaluate_loads_the_files_offline(tmp_path: Path) -> None:
    """Through evaluate's own copy of each file, in a process of its own, with a home where nothing is cached."""
    done = python(SCRIPT, json.dumps(TEXTS), str(METRICS), HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["diversity"]["diversity"] == float(diversity(ngram_counts(TEXTS)))
    assert found["published"] != found["diversity"]
    assert found["distinct"]["distinct_1"] == distinct(TEXTS, 1).value
    assert math.isnan(found["onset"]["repetition_onset"])
    assert found["onset"]["never"] == 2
    assert found["longest"] == {"longest_repeat": 2.5, "missing": 0.0}
    assert found["entities"] == {"entity_overlap": 1.0, "missing": 1.0}
    assert 0 <= found["self_bleu"]["self_bleu"] < 1
    assert found["compression"]["compression_ratio"] == compression_ratio(TEXTS)
    assert found["self_repetition"] == {"self_repetition": 0.0, "missing": 0.0}
    assert found["adjusted_distinct"]["ead"] == expectation_adjusted(TEXTS)
    assert found["samples"] == {"distinct_samples": 0.5}
    assert math.isnan(found["empty"]["diversity"])


@pytest.mark.long
def test_metrics_with_models_load_offline_and_give_the_tables_numbers(tmp_path: Path) -> None:
    """The embedded models are the defaults; other tokens, another pairing or another codebook would show."""
    words = re.findall(r"\w+", "the quick brown fox jumps over a lazy dog and runs into dark woods near the old river")
    turned = [" " + " ".join(words[i:] + words[:i]) for i in range(len(words))]
    texts = {"predictions": turned[3:13], "prompts": [f"Once {word}" for word in words[:10]], "references": turned[:10]}
    texts["predictions"][4] = ""  # missing in all three
    items = [
        dict(zip(("continuation", "prompt", "reference"), row, strict=True))
        for row in zip(*texts.values(), strict=True)
    ]
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(items))
    names = ["coherence", "perplexity_expert", "coherence_loglik", "mauve", "mauve_star", "frontier_integral"]
    metrics = MetricsConfig(only=names, bootstrap_draws=100, cache=False)
    config = ScoreConfig([str(path)], expert=ExpertConfig("embedded:smollm2"), metrics=metrics, out=str(tmp_path))
    score_texts(config, {}, lambda line: None)
    table = json.loads((tmp_path / "texts" / "metrics.json").read_text())

    calls = json.dumps([call for call, _ in MISTAKES])
    done = python(WITH_MODELS, json.dumps(texts), str(METRICS), calls, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    scores = {**found["coherence"], **found["perplexity"], **found["mauve"]}
    for name in names:
        assert scores[name.removesuffix("_expert")] == pytest.approx(table[name]["value"], rel=1e-4), name
    for name in ("coherence", "perplexity", "mauve"):
        assert found[name]["missing"] == 1
        assert math.isnan(found["empty"][name][name])
    for error, (call, expected) in zip(found["errors"], MISTAKES, strict=True):
        assert expected in error, call


def test_columns_become_one_prompt_a_place() -> None:
    """Two prompts that read the same are two units; a shifted column would pair strangers."""
    found = as_generations(["a", "b"], ["p", "p"])
    assert [(text.prompt, text.continuation) for text in found] == [("p", "a"), ("p", "b")]
    assert found[0].id != found[1].id
    with pytest.raises(ValueError, match=r"longer|shorter"):
        as_generations(["a"], ["p", "q"])
    with pytest.raises(ConfigError, match="Did you mean 'shared'"):
        choice_of(Codebook, "codebook", "share")


@pytest.mark.parametrize(
    "name",
    ["diversity", "distinct", "onset", "longest", "entities", "self_bleu"],
)
def test_importing_a_metric_loads_neither_evaluate_nor_torch(name: str) -> None:
    """evaluate takes five seconds to import, and torch two."""
    heavy = "{'torch', 'transformers', 'evaluate', 'datasets', 'sacrebleu'}"
    done = python(f"import sys, cdeval.metrics.{name} as m; print(m.Module, {heavy} & set(sys.modules))")
    assert done.stdout.strip() == "None set()", done.stderr
