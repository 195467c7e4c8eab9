"""Every file that is read back, damaged in every way: no traceback, no dead end, no value used in silence."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdeval.compare import read_record, record_of, write_record
from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, SearchKind, TemperatureForm
from cdeval.config.points import Point, Role
from cdeval.config.schema import CostConfig, RunConfig
from cdeval.config.setting import Setting
from cdeval.errors import StorageError, TextsError
from cdeval.report.publish import write_report
from cdeval.report.reading import below_nothing
from cdeval.report.studyfiles import Study, read_study
from cdeval.score.raters.votes import Key, read_ballots, read_key
from cdeval.store.folder import RunFolder
from cdeval.store.ledger import STUDY, Entry, Ledger, LedgerState, Plan, PointState, read_ledger
from cdeval.store.sessions import PROVENANCE, record_session
from cdeval.store.strict_json import parse, to_page
from cdeval.study.costs import keep_costs, kept_costs
from tests.report.studies import write_study

DEEP = 100_000


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def numbers_as(value: str) -> Callable[[bytes], bytes]:
    """The first number in a file replaced."""

    def damage(data: bytes) -> bytes:
        def first(found: Any) -> tuple[Any, bool]:
            if isinstance(found, bool) or found is None or isinstance(found, str):
                return found, False
            if isinstance(found, int | float):
                return "@", True
            items = list(found.items() if isinstance(found, dict) else enumerate(found))
            for name, item in items:
                new, done = first(item)
                if done:
                    found[name] = new
                    return found, True
            return found, False

        changed, done = first(json.loads(data))
        return json.dumps(changed).replace('"@"', value).encode() if done else b"[" + value.encode() + b"]"

    return damage


def doubled(data: bytes) -> bytes:
    """The first key twice."""
    value = json.loads(data)
    inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
    if not isinstance(inner, dict):
        return b'{"a": 1, "a": 2}'
    name = next(iter(inner))
    text = json.dumps(value)
    return text.replace(json.dumps(name) + ":", f"{json.dumps(name)}: null, {json.dumps(name)}:", 1).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "torn": halved,
    "an empty mapping": lambda _: b"{}",
    "a list of nothing in particular": lambda _: b"[3]",
    "null in a list": lambda _: b"[null]",
    "a text": lambda _: b'"text"',
    "a number": lambda _: b"7",
    "text in place of a number": numbers_as('"many"'),
    "a list in place of a number": numbers_as("[1]"),
    "true in place of a number": numbers_as("true"),
    "negative": numbers_as("-7"),
    "NaN": numbers_as("NaN"),
    "infinite": numbers_as("1e999"),
    "400 digits": numbers_as("9" * 400),
    "5000 digits": numbers_as("9" * 5000),
    "nested lists": lambda _: b"[" * DEEP + b"]" * DEEP,
    "nested mappings": lambda _: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "zeros": lambda data: b"\0" * len(data),
    "junk": lambda _: bytes(range(256)),
    "not UTF-8": lambda data: b"\xff" + data,
    "a key twice": doubled,
}


def damaged(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


def in_its_place(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


ANYHOW = pytest.mark.parametrize("how", [*DAMAGES, "a folder in its place"])


def spoil(path: Path, how: str) -> None:
    if how in DAMAGES:
        damaged(path, how)
    else:
        in_its_place(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("whole") / "s")
    (folder / "exit-4" / "latency.json").write_text(json.dumps({"token_seconds": [0.1, 0.2], "joules": []}))
    return folder


def read_or_message(folder: Path) -> tuple[Study | None, str]:
    try:
        return read_study(folder), ""
    except StorageError as error:
        return None, str(error)


# What such a file may hold: scores and differences may be below 0, seconds may lie pass by pass.
ALLOWED = {("comparisons.json", "negative"), ("exit-4/metrics.json", "negative")}
ALLOWED |= {("exit-4/latency.json", "a list in place of a number")}
FILES = ["shown.json", "comparisons.json"]
FILES += [f"exit-4/{name}.json" for name in ("summary", "metrics", "divergence", "latency", "provenance")]


@ANYHOW
@pytest.mark.parametrize("name", FILES)
def test_a_page_is_made_without_it_or_names_it(whole: Path, tmp_path: Path, name: str, how: str) -> None:
    folder = tmp_path / "s"
    shutil.copytree(whole, folder)
    before = read_study(folder)
    spoil(folder / name, how)
    found, message = read_or_message(folder)
    if found is None:
        assert str(folder / name) in message
        assert "\n" not in message
        assert len(message) < 600
        assert "Run the command that made it" in message or "move it" in message or "Delete it" in message
        return
    if (name, how) in ALLOWED:
        return
    said = [note for note in found.notes if str(folder / name) in note]
    same = [replace(arm, provenance={}) for arm in found.arms] == [replace(arm, provenance={}) for arm in before.arms]
    assert said or (same and name.endswith("provenance.json")), "used in silence"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"point: [1]",
        b"point: {setting: 3}",
        b"point: {setting: {amateur: [1]}}",
        b"[" * DEEP,
        b"\0junk",
        b"a: \xff",
        b"a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
        b"a: &a [*a]",
        b"!!python/object/apply:os.system ['true']",
    ],
)
def test_settings_that_are_damaged_are_named(whole: Path, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "s"
    shutil.copytree(whole, folder)
    (folder / "exit-4" / "config.yaml").write_bytes(content)
    with pytest.raises(StorageError, match=r"exit-4/config\.yaml is damaged .*Run the command that made it"):
        read_study(folder)


def test_settings_with_dates_and_numbers_of_every_kind_make_a_page(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shutil.copytree(whole, folder)
    with (folder / "exit-4" / "config.yaml").open("a") as file:
        file.write(f"when: 2024-06-01\nnever: .nan\nmany: {'9' * 400}\n3: x\nset: !!set {{a, b}}\n")
    write_report(folder)


SETTING = Setting(
    Amateur(), 1.0, 0.0, 1.0, TemperatureForm.softmax, Normalizer.full, SearchKind.beam, 5, 8, Ban.special
)


@pytest.fixture
def priced(tmp_path: Path) -> tuple[dict[Point, RunFolder], Path]:
    points = [Point(Role.control, SETTING, "expert alone", "a" * 64), Point(Role.human, None, "human", "b" * 64)]
    costs: dict[Point, dict[str, float]] = {
        points[0]: {
            "expert_decode_flops": 1e9,
            "latency_overhead": -0.1,
            "memory_bytes": float("nan"),
            "weights_bytes": 7,
        },
        points[1]: {},
    }
    for point in points:
        with RunFolder(tmp_path / point.folder) as folder:
            folder.write_json("costs.json", costs[point])
            folder.finish({"texts": 3})
    keep_costs(costs, RunConfig(), tmp_path)
    return {point: RunFolder(tmp_path / point.folder) for point in points}, tmp_path


def test_costs_are_kept(priced: tuple[dict[Point, RunFolder], Path]) -> None:
    folders, root = priced
    said: list[str] = []
    kept = kept_costs(folders, RunConfig(), root, said.append)
    assert kept is not None
    assert next(iter(kept.values()))["latency_overhead"] == -0.1
    timed = json.loads((root / "timed.json").read_text())
    del timed["costs"]
    (root / "timed.json").write_text(json.dumps(timed))
    assert kept_costs(folders, RunConfig(), root, said.append) is not None, "as studies before this one have it"
    assert said == []


def test_timings_of_earlier_commands_are_kept(priced: tuple[dict[Point, RunFolder], Path]) -> None:
    """A second command with another arm made the first one time its arms again; both share the expert alone."""
    folders, root = priced
    alone, human = folders
    other = Point(Role.arm, SETTING, "early exit", "c" * 64)
    second: dict[Point, dict[str, float]] = {other: {"expert_decode_flops": 2e9}, alone: {"expert_decode_flops": 1.1e9}}
    for point, costs in second.items():
        with RunFolder(root / point.folder) as folder:
            folder.write_json("costs.json", costs)
            folder.finish({"texts": 3})
    keep_costs(second, RunConfig(), root)
    keep_costs(second, RunConfig(), root)
    said: list[str] = []
    kept = kept_costs(folders, RunConfig(), root, said.append)
    assert kept == {alone: second[alone], human: {}}, "the expert alone as it was timed last"
    assert kept_costs({point: RunFolder(root / point.folder) for point in second}, RunConfig(), root, said.append)
    assert kept_costs({other: RunFolder(root / other.folder)}, RunConfig(), root, said.append) is None
    assert said == []
    assert len(json.loads((root / "timed.json").read_text())["earlier"]) == 1
    with RunFolder(root / alone.folder) as folder:
        folder.write_json("costs.json", {"expert_decode_flops": 3.0})
    assert kept_costs(folders, RunConfig(), root, said.append) is None
    assert "was changed after it was written" in said[0]


def test_costs_of_another_number_of_passes_are_not_taken_for_these(
    priced: tuple[dict[Point, RunFolder], Path],
) -> None:
    """Costs without seconds replace those with them, and are none of a timing that was asked for."""
    folders, root = priced
    untimed = RunConfig(cost=CostConfig(latency_repeats=0))
    keep_costs({point: folder.numbers("costs.json") for point, folder in folders.items()}, untimed, root)
    said: list[str] = []
    assert kept_costs(folders, untimed, root, said.append) is not None
    assert kept_costs(folders, RunConfig(), root, said.append) is None
    assert said == []


@pytest.mark.parametrize(
    "earlier", [None, 3, [3], {"a": 1}, [[]], [{}], [{"points": 1}], [{"costs": []}], [{"costs": {"a" * 64: []}}]]
)
def test_damaged_earlier_timings_are_no_timings(priced: tuple[dict[Point, RunFolder], Path], earlier: object) -> None:
    folders, root = priced
    path = root / "timed.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "earlier": earlier}))
    assert kept_costs(folders, RunConfig(), root, print) is not None
    keep_costs({point: {} for point in [*folders][:1]}, RunConfig(), root)
    assert kept_costs(folders, RunConfig(), root, print) is not None


@ANYHOW
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["costs.json", "timed.json"])
def test_damaged_costs_are_measured_again_with_one_line(
    priced: tuple[dict[Point, RunFolder], Path], name: str, how: str, *, old: bool
) -> None:
    folders, root = priced
    if old:
        timed = json.loads((root / "timed.json").read_text())
        del timed["costs"]
        (root / "timed.json").write_text(json.dumps(timed))
    path = root / name if name == "timed.json" else next(iter(folders.values())).path / name
    spoil(path, how)
    said: list[str] = []
    assert kept_costs(folders, RunConfig(), root, said.append) is None
    of_others = name == "timed.json" and said == []  # another timing than this one's, as any other study's
    assert of_others or (len(said) == 1 and str(path) in said[0] and "measured again" in said[0])


def test_costs_that_were_edited_are_measured_again(priced: tuple[dict[Point, RunFolder], Path]) -> None:
    folders, root = priced
    path = next(iter(folders.values())).path / "costs.json"
    path.write_text(path.read_text().replace("-0.1", "-0.2"))
    said: list[str] = []
    assert kept_costs(folders, RunConfig(), root, said.append) is None
    assert "was changed after it was written" in said[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    plan = Plan(("a" * 64,), {5: 4}, 8, {5: 2})
    entry = Entry("a" * 64, "early exit", "arm", "early-exit-a", 3, PointState.planned, plan=plan.digest)
    with RunFolder(tmp_path / "early-exit-a") as folder:
        own = {"wanted": 3, "plan": None, "plan_digest": None}
        point = {"digest": entry.digest, "label": entry.label, "role": entry.role}
        record_session(folder, {**_now(), "point": point}, own, begun=False)

    def edit(state: LedgerState) -> None:
        state.plans[plan.digest] = plan
        state.put(entry)

    Ledger(tmp_path, print).change(edit)
    return tmp_path


def _now() -> dict[str, Any]:
    machine = {"machine": {"cpu": "x"}, "libraries": {"torch": "2"}}
    return {**machine, "started_utc": "now", "models": {"dtype": "bfloat16"}, "numerics": {"threads": 2}}


def plans_as(**changes: object) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        record = json.loads(data)
        for plan in record["plans"].values():
            plan.update(changes)
        return json.dumps(record).encode()

    return damage


PLANS = {
    "lanes of -1": plans_as(lanes={"5": -1}),
    "lanes of a text": plans_as(lanes={"5": "4"}),
    "lanes of 1.5": plans_as(lanes={"5": 1.5}),
    "no lanes": plans_as(lanes={}),
    "more lanes": plans_as(lanes={"5": 10**9}),
    "lanes in a list": plans_as(lanes=[4]),
    "negative steps": plans_as(compact_every=-3),
    "no points": plans_as(points=[]),
    "a text for points": plans_as(points="abc"),
    "no fits": plans_as(fits=None),
    "fits of 0": plans_as(fits={"5": 0}),
}


@pytest.mark.parametrize("how", [*DAMAGES, *PLANS, "a folder in its place"])
def test_a_damaged_ledger_is_made_again_from_the_folders_with_one_line(ledger: Path, how: str) -> None:
    if how in PLANS:
        (ledger / STUDY).write_bytes(PLANS[how]((ledger / STUDY).read_bytes()))
    else:
        spoil(ledger / STUDY, how)
    assert set(read_ledger(ledger).points) <= {"a" * 64}
    said: list[str] = []
    if how == "a folder in its place":
        with pytest.raises(StorageError, match="A folder of that name is in the way: move it away"):
            Ledger(ledger, said.append).change(lambda state: None)
        return
    found = Ledger(ledger, said.append).change(lambda state: dict(state.points))
    assert set(found) == {"a" * 64}
    assert len(said) == 1
    assert "is made again from 1 run folders" in said[0]
    assert Ledger(ledger, said.append).change(lambda state: list(state.points)) == ["a" * 64]
    assert len(said) == 1


@ANYHOW
def test_a_damaged_record_of_sessions_is_begun_anew_with_one_line(ledger: Path, how: str) -> None:
    path = ledger / "early-exit-a" / PROVENANCE
    spoil(path, how)
    own = {"wanted": 3, "plan": None, "plan_digest": None}
    with RunFolder(path.parent) as folder:
        if how == "a folder in its place":
            with pytest.raises(StorageError, match="A folder of that name is in the way"):
                record_session(folder, _now(), own, begun=True)
            return
        said = record_session(folder, _now(), own, begun=True)
    assert said == [] or (len(said) == 1 and str(path) in said[0])
    assert parse(path.read_bytes())["sessions"][-1]["started_utc"] == "now"
    read_ledger(ledger)


@ANYHOW
def test_a_damaged_record_of_a_study_is_named(whole: Path, tmp_path: Path, how: str) -> None:
    path = tmp_path / "record.json"
    write_record(record_of(read_study(whole)), path)
    spoil(path, how)
    if how == "a folder in its place":
        with pytest.raises(StorageError, match="no run in it is finished"):
            read_record(path)
        return
    if how == "negative":
        path.write_text('{"format": 1, "arms": {"a": {"texts": {}, "numbers": {"x": [1]}}}}')
    with pytest.raises(StorageError, match=r"record\.json is neither a study's folder"):
        read_record(path)


KEY = {"sheet": "s", "arms": ["A", "B"], "pairs": {"p001": {"id": "1", "left": "A", "right": "B"}}}
VOTES = {"sheet": "s", "rater": "me", "votes": {"p001": "left"}}
WRITTEN: Mapping[str, tuple[object, Callable[[Path], object]]] = {
    "key": (KEY, read_key),
    "votes": (VOTES, lambda path: read_ballots([path], Key("s", ("A", "B"), {"p001": "1"}, {"p001": True}))),
}


@pytest.mark.parametrize("how", [how for how in DAMAGES if "number" not in how and "digits" not in how])
@pytest.mark.parametrize("name", WRITTEN)
def test_damaged_keys_and_votes_are_named(tmp_path: Path, name: str, how: str) -> None:
    value, read = WRITTEN[name]
    path = tmp_path / f"{name}.json"
    path.write_bytes(to_page(value))
    read(path)
    if how in {"negative", "NaN", "infinite"}:
        return  # there is no number in it
    damaged(path, how)
    with pytest.raises(TextsError, match=f"{name}"):
        read(path)


def test_a_sheet_with_long_texts_is_read_and_one_with_broken_quotes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    key = Key("s", ("A", "B"), {"p001": "1"}, {"p001": True})
    long = "x " * 200_000
    path.write_text(f'"pair","prompt","left","right","vote","rater"\r\n"p001","{long}","a","b","left","me"\r\n')
    (ballot,) = read_ballots([path], key)
    assert ballot.votes == {"p001": "left"}
    for broken in ("pair,vote,rater\np001,left\0,me\n", 'pair,vote,rater\np001,"left'):
        path.write_text(broken)
        with pytest.raises(TextsError, match=r"votes\.csv"):
            read_ballots([path], key)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_named(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shutil.copytree(whole, folder)
    for name in ("summary", "metrics"):
        path = folder / "exit-4" / f"{name}.json"
        path.chmod(0)
        with pytest.raises(StorageError, match=r"Set its permissions"):
            read_study(folder)
        path.chmod(0o600)


def test_the_end_of_a_wide_interval_may_lie_below_nothing() -> None:
    """Two passes of milliseconds have an interval that reaches below 0: such a study called itself damaged."""
    summary = {"decode_seconds_p50": 0.01, "decode_seconds_p50_low": -0.002, "flops_overhead": -0.1, "diversity": -1.0}
    assert below_nothing(summary) is None
    assert below_nothing({**summary, "decode_seconds_p50": -0.01}) == "decode_seconds_p50"
