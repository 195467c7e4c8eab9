"""The command, end to end on a tiny checkpoint: as a user types it, and as a user mistypes it."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cdeval.bench.config import BenchConfig, BenchRun, validate_bench
from cdeval.cli import CONF, plain_dict
from cdeval.config.schema import AmateurConfig, ContrastConfig, ExpertConfig
from cdeval.errors import ConfigError
from tests.commands import typed

EARLY = AmateurConfig("early_exit", 6)

TEXTS = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river. " * 3,
    "Researchers said on Monday that the results of the study were not yet clear to them at all. " * 3,
]
SMALL = [
    "bench.new_tokens=6",
    "bench.repeats=2",
    "bench.slow_repeats=1",
    "bench.batch_sizes=[1,2]",
    "bench.fused_settings=[1,3]",
    "bench.sweep_settings=2",
    "bench.sweep_prompts=2",
    "bench.compact_every=[0,2]",
    "bench.compaction_tokens=6",
    "bench.compaction_prompts=[1,2]",
    "bench.naive_tokens=5",
    "bench.growth_tokens=[3,6]",
    "bench.growth_prompts=[1,2]",
    "bench.precision_prompts=2",
    "amateur.layer=6",
]


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"text-{i}", "text": text}) for i, text in enumerate(TEXTS)))
    return path


def bench(cwd: Path, folder: Path, prompts: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", *SMALL, *more]
    return typed("cdeval.bench", arguments, cwd, COLUMNS="120")


@pytest.mark.long
def test_every_group_runs_and_the_file_holds_every_sample(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    done = bench(tmp_path, tiny_gpt2_folder, prompts_file)
    assert done.returncode == 0, done.stderr
    page = json.loads((tmp_path / "runs" / "bench" / "bench.json").read_text())
    names = ["single", "greedy", "fused", "batch", "sweep", "naive"]
    growth = ["growth_tokens", "growth_prompts", "growth_settings"]
    compaction = ["compaction_1", "compaction_2"]
    assert set(page["groups"]) == {*names, *growth, *compaction, "precision"}
    greedy = page["groups"]["greedy"]["arms"]["ours greedy contrast over candidates bf16"]
    assert greedy["same_tokens"] > 0.9, "the same texts but for rounding"
    repeats = {**dict.fromkeys(names[:3], 2), "precision": 1}
    for name, group in page["groups"].items():
        for label, arm in group["arms"].items():
            assert len(arm["seconds"]) == repeats.get(name, 1), (name, label)
            assert label in " ".join(done.stdout.split()) or len(label) > 40
    single = page["groups"]["single"]["arms"]
    assert single["Hugging Face plain f32"]["same_tokens"] == 1.0, "in float32 the peers write the same texts"
    assert single["Hugging Face plain bf16"]["ratio"] == 1.0
    assert page["groups"]["sweep"]["arms"]["ours contrast bf16, 2 prompts, 2 settings"]["texts"] == 4
    assert page["provenance"]["machine"]["cores_usable"] >= 1
    assert page["settings"]["bench"]["batch_sizes"] == [1, 2]
    assert set(page["limits"]["products"]) == {"torch.float32", "torch.bfloat16"}
    assert all(0 < arm["share_of_limit"] < 2 for group in page["groups"].values() for arm in group["arms"].values())
    assert "estimated time" in done.stderr
    assert [goal["met"] for goal in page["goals"]].count(None) == 3, "8 prompts, 8 settings and 256 tokens were not run"


def test_a_group_of_choice_needs_nothing_else(tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path) -> None:
    done = bench(tmp_path, tiny_gpt2_folder, prompts_file, "bench.groups=[greedy]", "bench.growth_tokens=[5000]")
    assert done.returncode == 0, done.stderr
    page = json.loads((tmp_path / "runs" / "bench" / "bench.json").read_text())
    assert list(page["groups"]) == ["greedy"]
    assert page["skipped"] == [], "no arm of CTranslate2 was wanted, so none is missing"
    assert "not measured" in done.stdout


# What only the command can find out; ranges are tested below, without starting it.
MISTAKES: list[tuple[list[str], str]] = [
    (["bench.repaets=3"], "Did you mean 'repeats'?"),
    (["bench.groups=[singel]"], "expected one of [single, greedy"),
    (["bench.batch_sizes=[3]"], "needs 3 prompts of one length"),
    (["bench.growth_tokens=[600]"], "exceed the context"),
    (["amateur.layer=12"], "an exit comes after 1 to 11"),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[" ".join(typed) for typed, _ in MISTAKES])
def test_a_mistake_gets_one_clear_message(
    typed: list[str], expected: str, tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    failed = bench(tmp_path, tiny_gpt2_folder, prompts_file, *typed)
    assert failed.returncode == 2, failed.stderr
    (message,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert expected in message
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("bench", "amateur", "expected"),
    [
        (BenchConfig(groups=[]), EARLY, "bench.groups=[] times nothing"),
        (BenchConfig(repeats=0), EARLY, "bench.repeats=0 is out of range: expected 1 to 10000"),
        (BenchConfig(precision_prompts=0), EARLY, "bench.precision_prompts=0 is out of range"),
        (BenchConfig(batch_sizes=[8, 0]), EARLY, "bench.batch_sizes=[8,0] is out of range"),
        (BenchConfig(compact_every=[-1]), EARLY, "bench.compact_every=[-1] is out of range"),
        (BenchConfig(fused_settings=[]), EARLY, "bench.fused_settings=[] times nothing"),
        (BenchConfig(), AmateurConfig("none"), "needs amateur=early_exit"),
        (BenchConfig(), AmateurConfig("early_exit", None), "needs amateur.layer"),
    ],
)
def test_ranges_are_checked_at_the_door(bench: BenchConfig, amateur: AmateurConfig, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        validate_bench(BenchRun(bench=bench, amateur=amateur))


def test_another_rule_of_plausibility_is_refused_as_the_other_programs_have_none() -> None:
    expert = ExpertConfig(name="x")
    with pytest.raises(ConfigError, match=r"contrast\.plausibility=min_p: the bench times other programs"):
        validate_bench(BenchRun(expert=expert, amateur=EARLY, contrast=ContrastConfig(plausibility="min_p")))
    validate_bench(BenchRun(expert=expert, amateur=EARLY, contrast=ContrastConfig(plausibility="alpha")))


def test_the_file_documents_the_defaults() -> None:
    """conf/bench.yaml is what people read; the classes are what tests and programs use."""
    written = yaml.safe_load((CONF / "bench.yaml").read_text())["bench"]
    assert written == plain_dict(BenchConfig())
