"""What a metric knows about itself stands in its own file, and every consumer reads it there."""

import ast
import subprocess
import sys
from pathlib import Path

from cdeval.metrics.registry import Better, Place, all_metrics, main_metrics, stored_metric

PACKAGE = Path(__file__).resolve().parents[2] / "cdeval"

# Files that have a metric's name as a word of their own, and what it means there.
OTHER_MEANINGS = {
    "lens/tables.py": "diversity heads a column of correlations",
    "lens/training.py": "tokens that a lens was trained on",
    "lens/linear.py": "tokens that a lens was fitted on",
    "metrics/judges/opening.py": "tokens: whose they are, in a recipe",
    "metrics/codebook.py": "mauve is the authors' package",
    "metrics/longest.py": "words are its unit",
    "metrics/onset.py": "words are its unit",
    "report/progress.py": "tokens are the unit of the bar",
    "report/renewing.py": "diversity is a setting of the group protocol",
    "report/tracking/track.py": "tokens of a text, a column of the table of texts",
    "records.py": "tokens of a text, a column of the table of texts",
    "study/score_call.py": "diversity is a setting of the group protocol",
    "bench/groups.py": "tokens are an axis of growth",
    "bench/arms.py": "tokens of a size",
    "decode/engine.py": "tokens are part of a run's state",
}


def own_file(metric: object) -> str:
    code = getattr(metric, "code", type(metric))
    return code.__module__.removeprefix("cdeval.").replace(".", "/") + ".py"


def test_no_other_file_names_a_metric() -> None:
    """A new metric is one file: tables, front, verdict, pictures, exports and W&B knew ours by their names."""
    ours = {metric.name: own_file(metric) for metric in all_metrics() if metric.origin is None}
    assert ours["coherence"] == "metrics/coherence.py"
    assert ours["rep_2"] == "metrics/diversity.py"
    assert ours["repetition_onset"] == "metrics/onset.py"
    named: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ours.get(node.value, file) != file:
                named.setdefault(file, set()).add(node.value)
    beside = named.pop("metrics/coherence.py")
    assert beside == {"diversity"}, "beside which it is drawn"
    assert set(named) == set(OTHER_MEANINGS), "a file that names a metric; or one that no longer does"
    assert set.union(*named.values()) <= {"diversity", "mauve", "tokens", "words"}


def test_a_report_reads_what_metrics_are_called_without_torch() -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'sacrebleu', 'faiss'}"
    program = (
        "import sys, cdeval.report.publish; from cdeval.metrics.registry import all_metrics; all_metrics(); "
        f"print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_metric_says_what_tables_need() -> None:
    every = all_metrics()
    assert len({metric.name for metric in every}) == len(every)
    for metric in every:
        assert metric.label
        assert metric.bounds[0] < metric.bounds[1]
        assert metric.heading.endswith(metric.better.value)
        assert metric.place is Place.file or max(map(len, metric.heading.split("\n"))) <= 10, "a narrow column"
        assert metric.beside in {"", *(other.name for other in every)}
        if metric.better.way and metric.place is Place.main:
            assert metric.more, "the verdict says so"
            assert metric.less
    assert [metric.name for metric in main_metrics()] == ["diversity", "mauve", "coherence", "perplexity_expert"]


def test_what_is_stored_of_a_metric_is_read_whatever_it_is() -> None:
    """Files may be damaged, and another cdeval may know other directions."""
    facts = {"label": "word length", "unit": "letters", "better": "human", "digits": 2}
    assert stored_metric("word_length", facts).facts() == facts
    for damaged in ({}, {"better": 3, "digits": "many", "label": None, "unit": []}, {"digits": True}, {"digits": -1}):
        found = stored_metric("word_length", damaged)
        assert (found.label, found.better, found.digits) == ("word length", Better.none, 3)
