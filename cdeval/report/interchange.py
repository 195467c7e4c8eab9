"""The files that `export=` writes beside a study's report, for other programs."""

import time
from pathlib import Path

from cdeval.report.config import Interchange, ReportRun
from cdeval.report.eval_results import Benchmark, eval_results
from cdeval.report.every_eval_ever import Evaluator, every_eval_ever
from cdeval.report.studyfiles import Study
from cdeval.store.folder import replace_file

EXPORTS = "exports"


def write_interchange(study: Study, config: ReportRun) -> list[Path]:
    """Write a study in the form that `export=` names, into its folder's `exports/`.

    Returns: the files, in order. Raises: ConfigError: the study has no such metric. StorageError: the disk refuses.
    """
    match config.export:
        case Interchange.every_eval_ever:
            evaluator = Evaluator(config.evaluator.organization, config.evaluator.relationship.value)
            files = every_eval_ever(study, evaluator, int(time.time()))
        case Interchange.eval_results:
            benchmark, dataset = config.benchmark, str(config.benchmark.dataset)
            files = eval_results(study, Benchmark(dataset, benchmark.task, benchmark.metric))
        case _:
            files = {}
    for name, content in files.items():
        replace_file(study.folder / EXPORTS / name, content)
    return [study.folder / EXPORTS / name for name in sorted(files)]
