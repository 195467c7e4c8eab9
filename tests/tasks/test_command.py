"""`python -m cdeval.tasks` on two local tasks, and what lm_eval's own command line says of the same arms."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.errors import ConfigError
from cdeval.integrations.lm_eval.registering import register
from cdeval.tasks.compare import mcnemar
from cdeval.tasks.config import TasksRun, validate_tasks
from tests.commands import typed as typed_command
from tests.tasks.local import write_tasks

pytest.importorskip("lm_eval", reason="lm_eval comes with the extra [lm-eval]")
EXIT = ["amateur.layer=6", "amateur.lens=norm"]
Typed = Callable[[str, Sequence[str]], str]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.long
def test_arms_answer_the_same_items_and_are_compared(
    tmp_path: Path, tiny_gpt2_folder: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And lm_eval's own command line finds the same accuracies, with and without contrast."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    folder = write_tasks(tmp_path / "mine")
    own = [f"include=[{folder}]", "tasks=[tiny_gen,tiny_mc]", f"expert.name={tiny_gpt2_folder}", "expert.dtype=float32"]
    printed = typed("tasks", [*own, *EXIT, "bootstrap_draws=100"])
    for said in ("exact_match", "acc", "GFLOPs an item", "ms an item", "p (Holm)"):
        assert said in printed
    found = json.loads((tmp_path / "runs" / "tasks" / "tasks.json").read_text())
    assert [(row["task"], row["items"]) for row in found["rows"]] == [("tiny_gen", 20)] * 2 + [("tiny_mc", 20)] * 2
    assert all(row["flops_per_item"] > 0 and row["seconds_per_item"] > 0 for row in found["rows"])
    exit_row, alone_row = found["rows"][2:]
    assert exit_row["flops_per_item"] > alone_row["flops_per_item"]

    arms = [tmp_path / "runs" / "tasks" / arm["folder"] for arm in found["arms"]]
    right = [[item["acc"] for item in lines(arm / "samples_tiny_mc.jsonl")] for arm in arms]
    (of_choices,) = [one for one in found["comparisons"] if one["metric"] == "tiny_mc: acc"]
    assert of_choices["p"] == mcnemar(*right)
    assert of_choices["difference"]["value"] == pytest.approx((sum(right[0]) - sum(right[1])) / 20)
    scored = typed("score", [f"generations={arms[0] / 'samples_tiny_gen.jsonl'}", "metrics.only=[words]", "out=scores"])
    assert "words" in scored

    for arm, row, settings in ((arms[0], exit_row, EXIT), (arms[1], alone_row, ["amateur=none"])):
        words = [f"pretrained={tiny_gpt2_folder}", "dtype=float32", "search=greedy", *settings]
        out = tmp_path / "out" / arm.name
        asked = [
            "--tasks",
            "tiny_gen,tiny_mc",
            "--include_path",
            str(folder),
            "--log_samples",
            "--output_path",
            str(out),
        ]
        command = ["--model", "cdeval", "--model_args", ",".join(words), *asked]
        done = typed_command("cdeval.integrations.lm_eval", command, tmp_path)
        assert done.returncode == 0, done.stderr
        (results,) = out.rglob("results_*.json")
        assert json.loads(results.read_text())["results"]["tiny_mc"]["acc,none"] == row["scores"]["acc"]["value"]
        (samples,) = out.rglob("samples_tiny_gen_*.jsonl")
        theirs = {item["doc_id"]: item["resps"] for item in lines(samples)}
        assert theirs == {item["doc_id"]: item["resps"] for item in lines(arm / "samples_tiny_gen.jsonl")}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TasksRun(), "tasks= has no value"),
        (TasksRun(tasks=["a", "a"]), "'a' stands there twice"),
        (TasksRun(tasks=["a"], against=3), "there are 2 arms"),
        (TasksRun(tasks=["a"], limit=0), "limit=0 is out of range"),
    ],
)
def test_a_mistake_costs_no_model(config: TasksRun, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate_tasks(config)


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.registry", None)
    with pytest.raises(ConfigError, match=r"cdeval\.tasks needs lm_eval\.api\.registry.*cdeval\[lm-eval\]"):
        register("cdeval.tasks")
