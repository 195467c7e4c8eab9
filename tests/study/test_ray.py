"""A study decoded by Ray workers: the texts of one process, whoever dies."""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.cli import plain_dict
from cdeval.config.enums import Dtype, ExecutorKind, PromptSource, Tracker
from cdeval.config.schema import (
    AmateurConfig,
    CostConfig,
    ExecutionConfig,
    ExpertConfig,
    MetricsConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.tracking import TrackingConfig
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet
from cdeval.store.ledger import read_ledger
from cdeval.store.strict_json import plain
from cdeval.study import pipeline as study
from cdeval.study.models import StudyModels
from cdeval.study.open import StudyRequest
from cdeval.study.pipeline import StudyResult, run_study
from cdeval.study.ray import RayExecutor, ray_executor, workers_of
from cdeval.study.ray_cluster import Workers, ray_cluster
from cdeval.study.ray_pool import WorkerReport, attempted
from cdeval.study.units import Unit, UnitTexts

pytest.importorskip("ray", reason="needs the extra [ray]")

Act = Callable[[Unit], UnitTexts]
Change = Callable[[Callable[[], Act]], Callable[[], Act]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(Workers(workers=2, threads=1, gpus=0)):
        yield


@pytest.fixture
def decoded(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[StudyResult, dict[str, dict[str, str]]]]:
    """Runs two settings and their control; returns what was shown and the texts' lines by run folder and prompt."""

    def run(name: str, dtype: Dtype, workers: int = 0, change: Change | None = None, retry: bool = True):
        execution = ExecutionConfig(max_lanes=3)
        if workers:
            execution = ExecutionConfig(kind=ExecutorKind.ray, max_lanes=3, workers=workers, threads=1)
        config = RunConfig(
            expert=ExpertConfig(name=str(tiny_gpt2_folder), dtype=dtype),
            search=SearchConfig(beams=2, max_new_tokens=8),
            prompts=PromptsConfig(source=PromptSource.file, path=str(prompts_file)),
            metrics=MetricsConfig(only=["words"]),
            cost=CostConfig(latency_repeats=0),
            tracking=TrackingConfig(kind=Tracker.none),
            execution=execution,
            runs=str(tmp_path),
            study=name,
            retry=retry,
        )
        configs = [replace(config, amateur=AmateurConfig(layer=layer)) for layer in (4, 6)]

        def changed(*arguments: object) -> RayExecutor:
            made = ray_executor(*arguments)  # type: ignore[arg-type]
            return replace(made, setup=change(made.setup)) if change else made

        monkeypatch.setattr(study, "ray_executor", changed)
        outcome = run_study([StudyRequest(one, plain_dict(one)) for one in configs], lambda _line: None)
        lines = {
            path.parent.name: {json.loads(line)["id"]: line for line in path.read_text().splitlines()}
            for path in (tmp_path / name).glob("*/generations.jsonl")
        }
        return outcome, lines

    return run


@pytest.mark.slow  # every study starts processes that import torch; the killed worker's test runs at every change
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("dtype", [Dtype.float32, Dtype.bfloat16])
def test_one_worker_or_two_make_the_texts_of_one_process(decoded: Callable, dtype: Dtype) -> None:
    """Else results would depend on the machine park, in bfloat16 even more than on chance."""
    _, here = decoded("here", dtype)
    assert len(here) == 4
    for workers in (1, 2):
        outcome, there = decoded(f"there-{workers}", dtype, workers)
        assert there == here
        assert not outcome.failures


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_while_it_decodes_loses_nothing(decoded: Callable, tmp_path: Path) -> None:
    mark = str(tmp_path / "killed")

    def once(setup: Callable[[], Act]) -> Callable[[], Act]:
        def build() -> Act:
            decode = setup()

            def act(unit: Unit) -> UnitTexts:
                made = decode(unit)
                if unit.place == 1 and not os.path.exists(mark):
                    with open(mark, "w"):
                        os.kill(os.getpid(), signal.SIGKILL)
                return made

            return act

        return build

    outcome, there = decoded("there", Dtype.bfloat16, 2, once)
    assert os.path.exists(mark), "nobody was killed"
    assert not outcome.failures
    assert there == decoded("here", Dtype.bfloat16)[1]


@pytest.mark.slow  # every study starts processes that import torch
@pytest.mark.usefixtures("cluster")
def test_a_prompt_that_kills_its_worker_is_named_and_the_rest_is_done_and_scored(
    decoded: Callable, tmp_path: Path
) -> None:
    def deadly(setup: Callable[[], Act]) -> Callable[[], Act]:
        def build() -> Act:
            decode = setup()

            def act(unit: Unit) -> UnitTexts:
                for text in unit.texts:
                    if text.prompt.id == "text-1" and text.setting.amateur.layer == 6:
                        os.kill(os.getpid(), signal.SIGKILL)
                return decode(unit)

            return act

        return build

    outcome, there = decoded("there", Dtype.float32, 2, deadly)
    (failure,) = outcome.failures
    assert "k=6" in str(failure)
    assert "prompt 'text-1': its worker process died" in str(failure)
    _, here = decoded("here", Dtype.float32)
    (lacking,) = [name for name in here if "-k6-" in name]
    del here[lacking]["text-1"]
    assert there == here
    assert len(outcome.rows) == 4, "the arm that lacks a text is scored without it"
    states = [entry.state.value for entry in read_ledger(tmp_path / "there").points.values()]
    assert sorted(states) == ["done", "done", "done", "failed"]
    outcome, mended = decoded("there", Dtype.float32, 2)
    assert not outcome.failures, "the same command tries it once more"
    assert mended == decoded("here", Dtype.float32)[1]


def test_what_is_left_to_cdeval_shares_the_machine_out() -> None:
    import torch

    cores = len(os.sched_getaffinity(0))
    execution = ExecutionConfig(kind=ExecutorKind.ray, workers=1)
    assert workers_of(execution, torch.device("cpu")) == Workers(1, cores, 0.0)
    assert workers_of(replace(execution, workers=999), torch.device("cuda")) == Workers(999, 1, 1.0)
    given = replace(execution, threads=3, gpus=0.5, address="auto")
    assert workers_of(given, torch.device("cuda")) == Workers(1, 3, 0.5, "auto")
    assert plain(workers_of(given, torch.device("cpu"))) == {"workers": 1, "threads": 3, "gpus": 0.5, "address": "auto"}


@pytest.mark.parametrize("poison", ["text-1", "text-"], ids=["a prompt", "a setting"])
def test_many_bad_prompts_are_a_bad_setting_and_few_are_not(
    poison: str, decoded: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with workers that only fail: a point is given up, and spared further tries, where most fail."""

    class Here:
        size = 1

        def __init__(self, act: Act) -> None:
            self._act, self._held = act, deque[Unit]()

        def give(self, worker: int, work: Unit) -> None:
            self._held.append(work)

        def reports(self) -> list[WorkerReport[UnitTexts]]:
            return [attempted(self._act, 0, self._held.popleft())]

    @contextmanager
    def here(_workers: Workers, setup: Callable[[], Act], *_: object) -> Iterator[Here]:
        decode = setup()

        def act(unit: Unit) -> UnitTexts:
            for text in unit.texts:
                if text.prompt.id.startswith(poison) and text.setting.amateur.layer == 6:
                    raise ModelError("it cannot be read")
            return decode(unit)

        yield Here(act)

    monkeypatch.setattr("cdeval.study.ray.ray_pool", here)
    outcome, there = decoded("there", Dtype.float32, 1)
    (failure,) = outcome.failures
    lacking = {name: len(lines) for name, lines in there.items() if "-k6-" in name}
    if poison == "text-":
        assert "it cannot be read (with most prompts)" in str(failure)
        assert len(outcome.rows) == 3
        assert list(lacking.values()) == [0]
    else:
        assert "prompt 'text-1': it cannot be read" in str(failure)
        assert len(outcome.rows) == 4
        assert list(lacking.values()) == [2]


def test_a_worker_imports_the_plug_ins_before_it_opens_the_settings(
    tmp_path: Path, tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugged_in.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cdeval.study.ray.plugged_modules", lambda: ["plugged_in"])
    prompts = PromptSet((), "no texts", 0, 0, 0, 0, 0, 0, 0)
    configs = [RunConfig(expert=ExpertConfig(name="/nowhere"), amateur=AmateurConfig(kind="none"))]
    setup = ray_executor(ExecutionConfig(workers=1), configs, StudyModels(tiny("llama")), prompts, print).setup
    with pytest.raises(ModelError, match="/nowhere"):
        setup()
    assert sys.modules.pop("plugged_in")
