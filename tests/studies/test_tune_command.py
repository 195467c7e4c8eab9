"""Tuning as a user types it: equally many settings an arm, the best of each, and the sweep of the chosen ones."""

import csv
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from tests.commands import cdeval, on, typed

ARMS = (
    'arms=["nucleus search.top_p=0.5,0.9","amateur=none search=top_k search.top_k=1,5,50","contrast_min_p '
    'contrast.min_p=0.1,0.3"]'
)
OWN = ["settings=2", "criterion=-perplexity_expert", "metrics.only=[rep_2,perplexity_expert]"]


def test_the_best_of_each_arm_becomes_a_sweep(tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path) -> None:
    study = on(tiny_gpt2_folder, prompts_file)
    done = typed("cdeval.tune", [*study, ARMS, *OWN], tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "tune"
    record = json.loads((folder / "tune.json").read_text())
    assert [len(one["tried"]) for one in record["arms"]] == [2, 2, 2]
    for one in record["arms"]:
        best = max(one["tried"], key=lambda tried: tried["criterion"])
        assert one["chosen"] == best["overrides"]
        summary = json.loads((folder / best["folder"] / "summary.json").read_text())
        assert best["criterion"] == pytest.approx(-summary["perplexity_expert"])
        assert one["best_of"][-1]["value"] == pytest.approx(best["criterion"])
        assert best["overrides"] in (folder / "tune.html").read_text()
    arms = sorted(path.name for path in (folder / "chosen" / "arm").iterdir())
    assert arms == ["amateur-none_tuned.yaml", "contrast_min_p_tuned.yaml", "nucleus_tuned.yaml"]
    nucleus = yaml.safe_load((folder / "chosen" / "arm" / "nucleus_tuned.yaml").read_text())
    assert (nucleus["defaults"][0], nucleus["tried"]) == ("nucleus", 2)

    (line,) = [one for one in done.stdout.splitlines() if "on the test split:" in one]
    module, *words = shlex.split(line.partition("python -m ")[2])
    assert module == "cdeval.run"
    done = cdeval([*words, "tracking=none"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tried" in done.stdout
    rows = list(csv.DictReader((tmp_path / "runs" / "tune_test" / "results.csv").open()))
    tried = {row["label"]: row["settings_tried"] for row in rows}
    assert sorted(tried.values()) == ["", "", "2", "2", "2"], tried
    assert tried["human"] == ""
    assert "settings tried" in (tmp_path / "runs" / "tune_test" / "report.html").read_text()
    assert "settings tried" in (tmp_path / "runs" / "tune_test" / "table.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "arms=[] tunes nothing"),
        (["arms=[nucleos]"], "nucleos is the name of no arm. Did you mean 'nucleus'"),
        (["arms=[nucleus]", "settings=13"], "settings=13, and its grid has 12 settings"),
        (["arms=[nucleus]", "criterion=1"], "criterion=1 names no metric"),
        (["arms=[nucleus]", "criterion=divresity"], "divresity is no metric. Did you mean 'diversity'"),
        (["arms=[nucleus]", "prompts.split=test"], "must not be seen before. Leave it out, or say tune_on_test=true"),
        (["arms=[nucleus,nucleus]"], "stands there twice"),
        (["arms=[nucleus]", "tried=3"], "is what is recorded of an arm that was chosen"),
        (["arms=[nucleus]", "contrast.beta=2"], "contrast.beta=2.0 is not read with amateur=none"),
        (["arms=[nucleus]", "at_least={coherense:0.3}"], "at_least.coherense: coherense is no metric"),
        (["arms=[nucleus]", "at_least={diversity:high}"], "at_least={diversity:high}: expected a finite number"),
        (["arms=[nucleus,min_p]", "metrics.only=[rep_2]"], "diversity is not computed: add diversity to metrics.only"),
        (['arms=["nucleus seed=1,2"]', "settings=2", "criterion=-rep_2"], "differ in more than amateur, contrast and"),
    ],
)
def test_a_mistake_gets_one_message(
    words: Sequence[str], message: str, refused: Callable[[str, Sequence[str]], str]
) -> None:
    assert message in refused("tune", words)
