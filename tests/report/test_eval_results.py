"""A study in the hub's .eval_results: read back by the hub's own library, and refused where it lacks its benchmark."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from cdeval.errors import ConfigError
from cdeval.report.config import BenchmarkConfig, Interchange, ReportRun, validate_report
from cdeval.report.eval_results import Benchmark, eval_results
from cdeval.report.interchange import write_interchange
from cdeval.report.studyfiles import read_study
from tests.report.studies import write_study


def test_the_hubs_library_reads_the_same_numbers(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "s"))
    config = ReportRun(study="s", export=Interchange.eval_results, benchmark=BenchmarkConfig("user/prompts"))
    written = write_interchange(study, validate_report(config))
    assert len(written) == len(study.decoded) == 3
    assert {path.parent for path in written} == {study.folder / "exports" / ".eval_results"}
    for arm in study.decoded:
        page = study.folder / "exports" / ".eval_results" / f"s-{arm.folder}.yaml"
        entries = {one.task_id: one for one in parse_eval_result_entries(yaml.safe_load(page.read_text()))}
        assert {name: one.value for name, one in entries.items()} == {
            name: score.value for name, score in arm.scores.items()
        }
        assert all(one.dataset_id == "user/prompts" for one in entries.values())
        low, high = arm.scores["mauve"].low, arm.scores["mauve"].high
        assert entries["mauve"].notes == f"cdeval, MAUVE: {arm.label}; interval {low:.4g} to {high:.4g}"


def test_one_number_of_a_leaderboard(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "s"))
    files = eval_results(study, Benchmark("user/prompts", "open_ended", "coherence"))
    for content in files.values():
        assert [one["dataset"]["task_id"] for one in yaml.safe_load(content)] == ["open_ended"]
    with pytest.raises(ConfigError, match=r"benchmark.metric=coherencee: Did you mean 'coherence'"):
        eval_results(study, Benchmark("user/prompts", None, "coherencee"))


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        (BenchmarkConfig(), "needs the benchmark's data set on the hub"),
        (BenchmarkConfig("prompts"), "benchmark.dataset=prompts"),
        (BenchmarkConfig("user/prompts", task="open_ended"), "name the metric that it is"),
    ],
)
def test_what_the_hub_would_refuse_is_refused(benchmark: BenchmarkConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate_report(ReportRun(study="s", export=Interchange.eval_results, benchmark=benchmark))
