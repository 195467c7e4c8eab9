"""Every command line of README and docs, typed: one after the other in one folder, on two prompts and a few tokens.

`tests/test_documented_commands.py` composes them in a minute; this runs them, in some fifteen. What a line needs from
elsewhere (a hub, a cluster, W&B's servers) is left out by name.
"""

import csv
import json
import re
import shlex
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import TEXTS
from tests.commands import typed as typed_command
from tests.judge.pairs import write_pairs
from tests.studies.test_documented_commands import lines

pytestmark = pytest.mark.slow

SHORT = {
    "run": ["prompts.limit=2", "search.max_new_tokens=6", "metrics.bootstrap_draws=100"],
    "judge": ["calibration.limit=6", "limit=3", "metrics.bootstrap_draws=100"],
    "lens": ["positions=64"],
    "calibrate": ["prompts.limit=3", "search.max_new_tokens=6"],
    "trace": ["search.max_new_tokens=4"],
    "score": ["metrics.bootstrap_draws=100"],
    "tune": ["prompts.limit=2", "search.max_new_tokens=6", "metrics.bootstrap_draws=100"],
}
ELSEWHERE = {
    r"cdeval\.bench\b": "the better part of an hour; tests/benchmark runs its parts",
    r"paper_|wikitext103|expert=gpt2-xl(?!.*weights=random)": "needs the weights or the texts of a hub",
    r"execution\.address=|submitit_slurm": "needs a cluster",
    r"docs/study/": "holds a whole study against its record; tests/test_compare.py holds small ones",
    r"samples_gsm8k|logs/a\.eval|details\.parquet|responses\.jsonl|theirs\.parquet": "tests/score/foreign has some",
    r"cdeval\.tasks|cdeval\.integrations": "needs data sets of the hub; tests/tasks has its own",
    r"mode=online|cdeval\.dashboard(?!.*--dry)": "sends to W&B",
}

EXTRAS = {
    "execution=ray": "ray",
    "launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "cdeval.dashboard": "wandb_workspaces",
}


def typed() -> list[str]:
    found = dict.fromkeys(text.removeprefix("time ") for _, text in lines())
    return [text for text in found if text.startswith("python -m cdeval.") and "benchmark" not in text]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of others that the pages speak of."""
    desk = tmp_path_factory.mktemp("desk")
    items = [
        {"id": str(at), "prompt": text[:40], "continuation": text[40:], "reference": text[::-1][:80]}
        | {"question": text[:40], "answer": text[40:], "gold": text[60:], "text": f"{text * 4}{at}"}
        for at, text in enumerate(TEXTS * 3)
    ]
    for name in ("theirs", "a", "b", "halves-100"):
        kept = [{key: item[key] for key in item if key != "text"} for item in items]
        if name == "b":  # people are asked where two texts differ
            kept = [item | {"continuation": item["continuation"][::-1]} for item in kept]
        (desk / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in kept))
        (desk / f"{name}.json").write_text(json.dumps(kept))
    (desk / "prompts.jsonl").write_text(
        "".join(json.dumps({"id": item["id"], "text": item["text"]}) + "\n" for item in items)
    )
    books = [
        {"prefix_text": item["prompt"], "reference_text": item["gold"], "generated_result": {"0": item["answer"]}}
        for item in items
    ]
    (desk / "book_contrastive_k_6_alpha_0.6_result.json").write_text(json.dumps(books))
    write_pairs(desk / "pairs.json")
    return desk


def before(line: str, desk: Path) -> None:
    """What other people or machines would have brought by now."""
    for copy in ("a/runs/grid", "b/runs/grid", "elsewhere/runs/grid"):
        if copy in line and not (desk / copy).exists():
            shutil.copytree(desk / "runs/grid", desk / copy)
    if "votes=" in line:
        key = json.loads((desk / "judged" / "key.json").read_text())
        ballot = {"sheet": key["sheet"], "rater": "ann", "votes": dict.fromkeys(key["pairs"], "left")}
        (desk / "ann.json").write_text(json.dumps(ballot))
        (sheet,) = (desk / "judged" / "raters").glob("*.csv")
        with sheet.open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets want it
            rows = list(csv.DictReader(file))
        with (desk / "bob.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows({**row, "vote": "right"} for row in rows)


def shortened(line: str) -> Sequence[str]:
    module, *arguments = shlex.split(line)[2:]
    arguments = ["+sweep=alpha" if one == "+sweep=grid" else one for one in arguments]
    if any(one.startswith("prompt=") for one in arguments):
        return [module, *arguments]
    more = list(SHORT.get(module.split(".")[1], ()))
    more += ["fit.steps=2"] if "gradient" in line else []
    if "study=" in line and module == "cdeval.lens":
        more = []
    if module == "cdeval.run":
        more += [] if "cost.latency_repeats=0" in line else ["cost.latency_repeats=1"]
        more += [] if "tracking" in line or "layers" in line else ["tracking=none"]
    if any(one.startswith(("votes=", "export=")) for one in arguments):
        more = []
    return [module, *arguments, *more]


@pytest.mark.parametrize("line", typed())
def test_a_documented_command_runs(line: str, desk: Path) -> None:
    for pattern, reason in ELSEWHERE.items():
        if re.search(pattern, line):
            pytest.skip(reason)
    for sign, module in EXTRAS.items():
        if sign in line and find_spec(module) is None:
            pytest.skip(f"needs {module}")
    before(line, desk)
    module, *arguments = shortened(line)
    done = typed_command(module, arguments, desk)
    assert done.returncode == 0, f"{shlex.join([module, *arguments])}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
