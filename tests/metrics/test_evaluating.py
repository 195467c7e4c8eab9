"""Metrics as evaluate's: loaded from their files without a network, and never loaded when nobody asks."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdeval.metrics.distinct import distinct
from cdeval.metrics.diversity import diversity, ngram_counts

METRICS = Path(__file__).resolve().parents[2] / "cdeval" / "metrics"
TEXTS = ["a b a b c d Paris", "the cat sat the cat sat"]

SCRIPT = """
import json, sys
import evaluate
texts, folder = json.loads(sys.argv[1]), sys.argv[2]
found = {}
for name in ("diversity", "distinct", "onset", "longest", "self_bleu"):
    found[name] = evaluate.load(f"{folder}/{name}.py").compute(predictions=texts)
found["entities"] = evaluate.load(f"{folder}/entities.py").compute(predictions=texts, prompts=["In Paris he", "x"])
metric = evaluate.load(f"{folder}/diversity.py")
found["published"] = metric.compute(predictions=texts, protocol="published")
found["empty"] = metric.compute(predictions=[])
print(json.dumps(found))
"""


def python(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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
    assert math.isnan(found["empty"]["diversity"])


@pytest.mark.parametrize("name", ["diversity", "distinct", "onset", "longest", "entities", "self_bleu"])
def test_importing_a_metric_loads_neither_evaluate_nor_torch(name: str) -> None:
    """evaluate takes five seconds to import, and torch two."""
    heavy = "{'torch', 'transformers', 'evaluate', 'datasets', 'sacrebleu', 'scipy'}"
    done = python(f"import sys, cdeval.metrics.{name} as m; print(m.Metric, {heavy} & set(sys.modules))")
    assert done.stdout.strip() == "None set()", done.stderr
