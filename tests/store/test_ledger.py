"""The ledger tells the truth about the disk, loses nothing when it breaks, and keeps together what was planned so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdeval.store.folder import SUMMARY, RunFolder
from cdeval.store.ledger import (
    LOCK,
    STUDY,
    Capacity,
    Entry,
    Ledger,
    LedgerState,
    Plan,
    PointState,
    plan_page,
    plan_together,
    read_ledger,
)
from tests.store.test_folder import generation

ROOM = Capacity({1: 8, 5: 4}, 8, pinned=False)


def entry(name: str, state: PointState = PointState.planned, **more: object) -> Entry:
    return Entry(name, f"label {name}", "arm", f"{name}-folder", 2, state, **more)  # type: ignore[arg-type]


def quiet(root: Path) -> Ledger:
    return Ledger(root, lambda _line: None)


def state_of(*names: str) -> LedgerState:
    state = LedgerState()
    state.put(*(entry(name) for name in names))
    return state


def test_what_is_written_comes_back_in_its_order(tmp_path: Path) -> None:
    plan = Plan(("b", "a"), {1: 8, 5: 4}, 8, {5: 2})
    quiet(tmp_path).change(
        lambda state: state.put(entry("b", plan=plan.digest), entry("a", PointState.failed, reason="why"))
    )
    quiet(tmp_path).change(lambda state: state.plans.update({plan.digest: plan}))
    found = read_ledger(tmp_path)
    assert list(found.points) == ["b", "a"]
    assert (found.points["a"].state, found.points["a"].reason) == (PointState.failed, "why")
    assert found.plans == {plan.digest: plan}
    assert found.plans[plan.digest].digest == plan.digest, "lanes keep their numbers through JSON"


def test_states_are_those_of_the_disk(tmp_path: Path) -> None:
    """Running is who holds the lock, and done what is complete, whatever a killed process has left in the file."""
    names = [
        ("held", PointState.planned),
        ("gone", PointState.running),
        ("cut", PointState.done),
        ("whole", PointState.running),
    ]
    quiet(tmp_path).change(lambda state: state.put(*(entry(name, state, pid=1) for name, state in names)))
    for name, texts in (("gone", "a"), ("cut", "a"), ("whole", "ab")):
        with RunFolder(tmp_path / f"{name}-folder") as folder:
            folder.append(generation(text) for text in texts)
            folder.finish({})
    with RunFolder(tmp_path / "held-folder"):
        found = {name: (one.state, one.stored) for name, one in read_ledger(tmp_path).points.items()}
    assert found == {
        "held": (PointState.running, 0),
        "gone": (PointState.planned, 1),
        "cut": (PointState.planned, 1),
        "whole": (PointState.done, 2),
    }


def in_folder(root: Path, name: str, plan: Plan) -> None:
    with RunFolder(root / f"{name}-folder") as folder:
        folder.append([generation("a"), generation("b")])
        point = {"digest": name, "label": f"label {name}", "role": "arm"}
        folder.write_json("provenance.json", {"point": point, "ledger": {"wanted": 2, "plan": plan_page(plan)}})
        folder.write_json(SUMMARY, {})


@pytest.mark.parametrize("broken", [b"", b"\0" * 99, b"[]", b'{"points": [{"dig', b'{"points": [{}], "plans": {}}'])
def test_a_broken_ledger_is_made_again_from_the_folders_and_said_so_once(tmp_path: Path, broken: bytes) -> None:
    plan = Plan(("x", "y"), {5: 4}, 8)
    for name in plan.points:
        in_folder(tmp_path, name, plan)
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "provenance.json").write_text("{")
    (tmp_path / STUDY).write_bytes(broken)
    said: list[str] = []
    for _ in range(2):
        Ledger(tmp_path, said.append).change(lambda state: None)
    assert len(said) == 1
    assert "made again from 2 run folders" in said[0]
    found = read_ledger(tmp_path)
    assert {name: (one.state, one.stored, one.plan) for name, one in found.points.items()} == {
        name: (PointState.done, 2, plan.digest) for name in plan.points
    }
    assert found.plans == {plan.digest: plan}


WRITER = """
import sys
from pathlib import Path
from cdeval.store.ledger import Entry, Ledger
ledger = Ledger(Path(sys.argv[1]), print)
for i in range(40):
    ledger.change(lambda state: state.put(Entry(f"{sys.argv[2]}{i}", "", "arm", None, 0)))
"""


def test_processes_that_write_at_once_lose_no_entry_of_each_other(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert len(read_ledger(tmp_path).points) == 120
    assert sorted(os.listdir(tmp_path)) == [LOCK, STUDY]
    assert len(json.loads((tmp_path / STUDY).read_text())["points"]) == 120


def test_points_stay_with_those_they_were_planned_with() -> None:
    state = state_of("a", "b", "c")
    kept, apart = plan_together(state, ["a", "b"], set(), {"a", "b"}, ROOM)
    ((first, names),) = kept.items()
    assert (names, apart) == (["a", "b"], [])
    less_memory = Capacity({1: 2, 5: 1}, 8, pinned=False)
    kept, apart = plan_together(state, ["a", "b", "c"], {"a"}, {"a", "b", "c"}, less_memory)
    assert list(kept.values()) == [["a", "b"], ["c"]], "a later point joins no unit that was planned before"
    assert state.plans[first].lanes == ROOM.lanes, "free memory now does not change units"
    assert apart == []


def test_points_that_come_without_the_others_of_their_plan() -> None:
    """Begun ones are named, for their units change; the others are planned anew; complete ones are left alone."""
    state = state_of("a", "b", "c", "d")
    (first,) = plan_together(state, ["a", "b", "c", "d"], set(), set("abcd"), ROOM)[0]
    kept, apart = plan_together(state, ["a", "b", "c"], {"a", "b"}, {"a", "c"}, ROOM)
    assert kept.pop(first) == ["a", "b"]
    assert list(kept.values()) == [["c"]]
    assert apart == ["a"]


def test_lanes_that_are_asked_for_are_taken() -> None:
    state = state_of("a", "b")
    plan_together(state, ["a", "b"], set(), {"a", "b"}, ROOM)
    kept, apart = plan_together(state, ["a", "b"], {"a", "b"}, {"a"}, Capacity({1: 8, 5: 2}, 8, pinned=True))
    (plan,) = (state.plans[name] for name in kept)
    assert plan.lanes[5] == 2
    assert kept[plan.digest] == apart == ["a"], "what is complete is not decoded again for it"
