"""A study in the form of Every Eval Ever: what its schema demands, and the study's own numbers in it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cdeval.metrics.compare import ArmRows
from cdeval.metrics.scorefile import SCORES, ArmScores, Score, texts_digest, to_bytes
from cdeval.records import Estimate
from cdeval.report.every_eval_ever import Evaluator, every_eval_ever, model_id
from cdeval.report.measures import COSTS
from cdeval.report.studyfiles import Study, read_study
from cdeval.score.config import FieldsConfig
from cdeval.score.read import read_generations
from cdeval.store.folder import RunFolder
from tests.report.eval_schema import AGGREGATE, INSTANCE
from tests.report.studies import write_study

WHO = Evaluator("Example", "third_party")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two exits and their control, whose texts have a score each."""
    folder = write_study(tmp_path / "a study")
    for path in folder.glob("*/generations.jsonl"):
        texts = list(RunFolder(path.parent).generations().values())
        values = np.array([[2.0 + place, 4.0] for place in range(len(texts))])
        kept = Score(
            Estimate(0.5, 0.4, 0.6, 3, 0), texts_digest(texts), "", {}, ArmRows(tuple(t.id for t in texts), values)
        )
        (path.parent / SCORES).write_bytes(to_bytes(ArmScores({"coherence": kept})))
    return read_study(folder)


def exported(study: Study) -> dict[str, Any]:
    """The aggregate files by arm."""
    files = every_eval_ever(study, WHO, now=1_700_000_000)
    pages = [json.loads(content) for name, content in files.items() if name.endswith(".json")]
    return {page["source_metadata"]["additional_details"]["arm"]: page for page in pages}


def test_the_files_are_what_the_schema_demands(study: Study) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with the extra [notebook]")
    files = every_eval_ever(study, WHO, now=1_700_000_000)
    assert len(files) == 6, "two files an arm, none of the human texts"
    for name, content in files.items():
        if name.endswith(".json"):
            page = json.loads(content)
            jsonschema.validate(page, AGGREGATE)
            samples = page["detailed_evaluation_results"]
            assert hashlib.sha256(files[samples["file_path"]]).hexdigest() == samples["checksum"]
            assert files[samples["file_path"]].count(b"\n") == samples["total_rows"] == 3
        else:
            for line in content.splitlines():
                jsonschema.validate(json.loads(line), INSTANCE)


def test_every_number_reads_back_with_its_interval(study: Study) -> None:
    pages = exported(study)
    assert set(pages) == {arm.label for arm in study.decoded}
    for arm in study.decoded:
        found = {one["metric_config"]["metric_id"]: one for one in pages[arm.label]["evaluation_results"]}
        assert set(found) == {f"cdeval.{name}" for name in (*arm.scores, *(cost.name for cost in COSTS))}
        for name, score in arm.scores.items():
            details = found[f"cdeval.{name}"]["score_details"]
            interval = details["uncertainty"]["confidence_interval"]
            assert (details["score"], interval["lower"], interval["upper"]) == (score.value, score.low, score.high)
            assert details["uncertainty"]["num_samples"] == score.n
        for cost in COSTS:
            assert found[f"cdeval.{cost.name}"]["score_details"]["score"] == arm.summary[cost.name]
            assert found[f"cdeval.{cost.name}"]["metric_config"]["lower_is_better"]
        setting = found["cdeval.mauve"]["generation_config"]["additional_details"]
        assert setting["amateur.kind"] == arm.setting["amateur"]["kind"]
        assert float(setting["alpha"]) == arm.setting["alpha"]


def test_the_score_command_reads_the_texts_back(study: Study, tmp_path: Path) -> None:
    """A text that has several metrics stands there once a metric, and is one text."""
    files = every_eval_ever(study, WHO, now=1)
    name, content = next((name, content) for name, content in files.items() if name.endswith(".jsonl"))
    page = json.loads(files[name.replace("_samples.jsonl", ".json")])
    arm = next(a for a in study.arms if a.label == page["source_metadata"]["additional_details"]["arm"])
    other = b"".join(line.replace(b"cdeval.coherence", b"cdeval.other") + b"\n" for line in content.splitlines())
    (tmp_path / "samples.jsonl").write_bytes(content + other)
    found = read_generations(tmp_path / "samples.jsonl", FieldsConfig())
    assert [(t.id, t.prompt, t.continuation) for t in found.generations] == [
        (t.id, t.prompt, t.continuation) for t in arm.generations
    ]
    scores = [json.loads(line)["evaluation"]["score"] for line in content.splitlines()]
    assert scores == [0.5, 0.75, 1.0], "sum over count, text by text"


def test_a_second_export_replaces_the_first_and_says_what_has_no_value(study: Study) -> None:
    first, second = (every_eval_ever(study, WHO, now=now) for now in (1, 2))
    assert set(first) == set(second)
    path = study.arms[0].path / "metrics.json"
    stored = json.loads(path.read_text())
    stored["mauve"] |= {"value": None, "low": None, "high": None, "note": "no human texts to compare with"}
    path.write_text(json.dumps(stored))
    changed = read_study(study.folder)
    page = exported(changed)[study.arms[0].label]
    assert page["source_metadata"]["additional_details"]["without value: mauve"] == "no human texts to compare with"
    assert "cdeval.mauve" not in {one["evaluation_result_id"] for one in page["evaluation_results"]}


@pytest.mark.parametrize(
    ("expert", "revision", "expected"),
    [
        ("facebook/opt-125m", None, "facebook/opt-125m"),
        ("gpt2", "abc", "unknown/gpt2"),
        ("embedded:smollm2", None, "embedded/smollm2"),
        ("~/models/opt", None, "local/opt"),
        ("tiny", None, "local/tiny"),
    ],
)
def test_models_are_called_as_on_the_hub(study: Study, expert: str, revision: str | None, expected: str) -> None:
    arm = study.arms[0]
    arm.provenance["models"].update(expert=expert, revision=revision)  # type: ignore[attr-defined]
    assert model_id(arm) == expected
