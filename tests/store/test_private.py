"""What is written names no home folder and no user, and what is read back means the same folder again."""

import html
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from cdeval.bench.config import BenchRun
from cdeval.calibrate.config import CalibrateRun
from cdeval.cli import Schema, run_command, run_schema
from cdeval.compare import CompareRun
from cdeval.config.fields import TextForm, expand_paths, leaves, value_of
from cdeval.config.schema import RunConfig
from cdeval.dashboard import DashboardRun
from cdeval.lens.config import LensRun
from cdeval.merge import MergeConfig
from cdeval.metrics.scorefile import SCORES
from cdeval.models.lens import Translator, read_lens, to_bytes, tuned_lens
from cdeval.price.config import PriceRun
from cdeval.report import publish
from cdeval.report.__main__ import report
from cdeval.report.config import ReportRun, validate_report
from cdeval.run import run
from cdeval.score.arms import collect
from cdeval.score.config import ScoreConfig
from cdeval.store import private
from cdeval.store.folder import RunFolder
from cdeval.store.private import expanded, masked, masked_all
from cdeval.trace.config import TraceRun

NAME = "jane.doe"

At = Callable[..., Path]


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """Make a folder somebody's home, and that one's the process; nobody is in the system's list of users."""

    def move(*parts: str, name: str = NAME) -> Path:
        home = tmp_path.joinpath(*(parts or ("home", name)))
        home.mkdir(parents=True, exist_ok=True)
        for variable, value in {"HOME": str(home), "USER": name, "LOGNAME": name}.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr(private, "_entry", lambda: ("", ""))
        private._known.cache_clear()
        return home

    yield move
    private._known.cache_clear()


@pytest.mark.parametrize("text", ["{}", "{}/a", "runs={}", "'{}/a', \"{}\"", "in {}.", "see {}, {}; {}: ({})\n{}\\n"])
def test_the_home_folder_is_masked_wherever_a_path_may_end(at: At, text: str) -> None:
    home = str(at())
    assert masked(text.replace("{}", home)) == text.replace("{}", "~")


@pytest.mark.parametrize("behind", ["2", "-old/a", "_b", ".old/a", "@example.org", "é", "~", "%20x", "..x", "+1"])
def test_what_only_begins_like_the_home_folder_stays(at: At, behind: str) -> None:
    assert masked(f"{at()}{behind}") == f"{at()}{behind}"


@pytest.mark.parametrize(
    "text",
    [
        "/home/joe/model",
        "/home/joe/jane.doe/model",
        "/home/janexdoe/model",
        "/home/jane",
        r"C:\Users\jane.doe\model",
        r"D:\home\jane.doe",
        "jane.doe",
        "by jane.doe/model on the hub",
        "/models/jane.doe",
        "the home/work balance",
        "",
    ],
)
def test_other_folders_users_and_systems_are_left_alone(at: At, text: str) -> None:
    at()
    assert masked(text) == text
    assert expanded(text) == text


@pytest.mark.parametrize(
    "name", ["a+b", "j(o)e", "a.b*c", "[x]", "a b", "o'neil", 'a"b', "x&y", "a\\b", "$x", "josé", "ж"]
)
def test_a_name_is_letters_whatever_it_would_mean_elsewhere(at: At, name: str) -> None:
    home = str(at(name=name))
    forms = [f"{home}/m", html.escape(f"<{home}/m>"), f"file://{quote(home)}/m", json.dumps([f"{home}/m"])]
    forms += [
        json.dumps([f"{home}/m"], ensure_ascii=False),
        yaml.safe_dump([f"{home}/m"], allow_unicode=True, width=1000),
    ]
    for form in forms:
        assert "~/m" in masked(form), form
    assert expanded("~/m") == f"{home}/m"
    assert masked(home.replace(name, "abc")) == home.replace(name, "abc")


def test_a_home_that_is_a_link_is_known_by_both_its_paths(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = at("disk4", "people")
    link = tmp_path / "home" / NAME
    link.parent.mkdir()
    link.symlink_to(disk)
    monkeypatch.setenv("HOME", f"{link}/")
    (disk / "model").mkdir()
    assert masked(f"{link}/model {disk}/model {link}//model {link}/./model") == "~/model ~/model ~//model ~/./model"
    assert Path(expanded("~/model")).samefile(disk / "model")


def test_signs_of_two_parts_are_one_letter(at: At) -> None:
    home = str(at(name="jose\u0301"))
    assert masked(f"{home}/m {home.replace('jose' + chr(0x301), 'jos' + chr(0xE9))}/m") == "~/m ~/m"


def test_urls_name_files(at: At) -> None:
    home = at()
    assert masked(f"file://{home}/a file://localhost{home}/a") == "file://~/a file://localhost~/a"


@pytest.mark.parametrize(
    "before", ["/mnt/home", "/scratch", "/data/users", "/Users", "/media", "/home2", "../..", "a/home"]
)
def test_a_name_is_masked_as_a_folder_where_folders_of_users_lie(at: At, before: str) -> None:
    at("elsewhere")
    path = f"{before}/{NAME}/model"
    assert masked(f"read {path}, {before}/{NAME}2/model") == f"read {before}/$USER/model, {before}/{NAME}2/model"
    assert expanded(f"{before}/$USER/model") == path


@pytest.mark.parametrize("home", ["/", "", ".", "relative", "/does/not/exist", "//"])
def test_where_there_is_no_home_nothing_is_masked(at: At, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    at(name="")
    monkeypatch.setenv("HOME", home)
    for text in ("/", "/a/b", "a/b", ".", "relative/a", "/does/not/exist/a"):
        assert masked(text) == text


def test_what_the_system_knows_as_the_home_folder_is_masked_beside_what_the_environment_says(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, listed = at("container"), tmp_path / "people" / "jd"
    (listed / "model").mkdir(parents=True)
    monkeypatch.setattr(private, "_entry", lambda: ("jd", str(listed)))
    private._known.cache_clear()
    assert masked(f"{own}/a {listed}/model /scratch/jd/b") == "~/a ~/model /scratch/$USER/b"
    assert expanded("~/model") == str(listed / "model"), "there is something"
    assert expanded("~/new") == str(own / "new"), "what a shell would say"


def test_values_are_masked_to_their_last_text(at: At) -> None:
    home = str(at())
    value = {"a": [home, 1, None, {f"{home}/k": (f"{home}/x", True)}], "b": 2.5}
    assert masked_all(value) == {"a": ["~", 1, None, {"~/k": ["~/x", True]}], "b": 2.5}


def test_paths_that_are_typed_are_those_of_the_home_folder_and_labels_are_letters(at: At) -> None:
    home = str(at())
    config = ScoreConfig(generations=["~/a.jsonl", "b"], votes="~/v", labels=["~/x"], runs="~", out="~/o")
    config.expert.name, config.metrics.embedder, config.pairs.question = "~/m", "~/e", "~/q"
    expand_paths(config)
    assert (config.generations, config.votes, config.runs, config.out) == (
        [f"{home}/a.jsonl", "b"],
        f"{home}/v",
        home,
        f"{home}/o",
    )
    assert (config.expert.name, config.metrics.embedder) == (f"{home}/m", f"{home}/e")
    assert (config.labels, config.pairs.question, config.study) == (["~/x"], "~/q", "scores")


PATHS = {
    RunConfig: "runs expert.name amateur.name amateur.lens_file prompts.path metrics.scorer metrics.embedder",
    ScoreConfig: "generations votes key out runs metrics.mauve_features",
    LensRun: "study lens_file out",
    TraceRun: "out amateur.lens_file",
    CalibrateRun: "out",
    PriceRun: "out runs",
    CompareRun: "studies record",
    MergeConfig: "studies into",
    ReportRun: "study",
    DashboardRun: "study",
    BenchRun: "runs expert.name",
}


@pytest.mark.parametrize("root", PATHS, ids=lambda root: str(root.__name__))
def test_every_command_knows_its_paths(at: At, root: type) -> None:
    home, config = at(), root()
    for name in PATHS[root].split():
        group, _, last = name.rpartition(".")
        owner = value_of(config, group) if group else config
        several = leaves(root)[name].text is TextForm.lines
        setattr(owner, last, ["~/x"] if several else "~/x")
        expand_paths(config)
        assert value_of(config, name) == ([f"{home}/x"] if several else f"{home}/x"), name


def test_a_trained_lens_does_not_say_where_its_expert_lay(at: At, tmp_path: Path) -> None:
    facts = {"expert": f"{at()}/model", "text_ids": "[]"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(to_bytes(tuned_lens({1: Translator(torch.eye(2), torch.zeros(2))}, facts)))
    assert NAME.encode() not in path.read_bytes()
    assert read_lens(path, None, 2).facts["expert"] == "~/model"


def test_arms_that_files_name_do_not_name_the_user(at: At, tmp_path: Path) -> None:
    paths = [at() / "texts.jsonl", tmp_path / "elsewhere" / "texts.jsonl"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"prompt": "a", "continuation": f"b {path}"}) + "\n")
    labels = [arm.label for arm in collect([str(path) for path in paths], [], ScoreConfig().fields).arms]
    assert NAME not in "".join(labels)
    assert labels[0] == "~"


def told(path: Path) -> bytes:
    """All that a file says, unpacked."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    more = str(pq.read_table(path).to_pydict()).encode() if path.suffix == ".parquet" else b""
    return path.read_bytes() + more


def test_a_study_under_the_home_folder_names_it_nowhere_and_goes_on(
    at: At, tiny_gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = at()
    monkeypatch.chdir(home)
    monkeypatch.setattr(
        publish, "draw_files", lambda _chart, _folder: None
    )  # pictures take seconds, and show labels alone
    for name in ("tiny", "small"):
        shutil.copytree(tiny_gpt2_folder, home / "models" / name)
    prompt = f"Look into {home}/notes or ask at once, because the results of the study were not yet clear to them."
    (home / "prompts.jsonl").write_text(json.dumps({"id": f"{home}/notes", "text": 3 * prompt}) + "\n")
    ours = ["amateur=model", f"amateur.name={home}/models/small", f"expert.name={home}/models/tiny", "study=s"]
    cheap = ["cost.latency_repeats=0", "tracking=none", "search.max_new_tokens=4", "metrics.bootstrap_draws=100"]
    more = [
        "prompts=file",
        "prompts.path=~/prompts.jsonl",
        "metrics.only=[words,perplexity_expert]",
        "metrics.scorer=~/models/small",
    ]

    def command(*last: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cdeval.run", "--multirun", *ours, *cheap, *more, *last])
        run_command(run)
        return capsys.readouterr().err

    command("runs=~/runs", "contrast.alpha=0.1")
    root = home / "runs" / "s"
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {"config.yaml", "multirun.yaml", "report.html", "results.parquet", SCORES} <= {path.name for path in files}
    leaking = {path.name for path in files if NAME.encode() in told(path)}
    assert leaking == {"generations.jsonl", SCORES}, "texts and the names of prompts, by which arms are paired"
    for path in root.glob(f"*/{SCORES}"):
        assert b"models/small" not in told(path).replace(b"~/models/small", b"")
    assert all(
        prompt in text.prompt or text.prompt in prompt for text in RunFolder(files[0].parent).generations().values()
    )
    assert not (home / "~").exists()

    arm = next(root.glob("small-*"))
    config = yaml.safe_load((arm / "config.yaml").read_text())
    assert (config["runs"], config["expert"]["name"]) == ("~/runs", "~/models/tiny")
    assert config["prompts"]["path"] == "~/prompts.jsonl"
    for path in root.glob("*/config.yaml"):  # as an older cdeval left it
        path.write_text(path.read_text().replace("~/", f"{home}/"))
    before = (arm / "generations.jsonl").read_bytes()
    said = command(f"runs={home}/runs", "contrast.alpha=0.1", "amateur.name=~/models/small")
    assert "already stored and are reused" in said
    assert "decoding" not in said
    assert (arm / "generations.jsonl").read_bytes() == before
    assert yaml.safe_load((arm / "config.yaml").read_text()) == config
    shown = json.loads((root / "shown.json").read_text())
    assert len(shown["made"]) == len(set(shown["made"]))

    (root / "report.html").unlink()
    monkeypatch.setattr(sys, "argv", ["cdeval.report", "study=~/runs/s"])
    run_schema(report, Schema(ReportRun, validate_report), "report")
    assert NAME not in (root / "report.html").read_text()
