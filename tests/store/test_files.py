"""Files of our own are never written through a link, and where nothing can be written the message says just that."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cdeval.errors import StorageError
from cdeval.store import files
from cdeval.store.files import replace_file, require_writable
from cdeval.store.folder import GENERATIONS, RunFolder
from cdeval.store.ledger import LOCK, Ledger


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_text("precious")
    return path


def test_a_link_where_the_draft_was_expected_is_not_followed(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".metrics.json.part").symlink_to(victim)
    replace_file(tmp_path / "metrics.json", b"{}")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "metrics.json").is_symlink()


def test_not_even_a_draft_whose_name_is_known(tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda _count: "abc")
    (tmp_path / ".metrics.json.abc.part").symlink_to(victim)
    with pytest.raises(StorageError):
        replace_file(tmp_path / "metrics.json", b"{}")
    assert victim.read_text() == "precious"


def test_a_file_that_is_a_link_is_replaced_and_its_target_is_not(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "table.md").symlink_to(victim)
    replace_file(tmp_path / "table.md", b"new")
    assert (victim.read_text(), (tmp_path / "table.md").read_text()) == ("precious", "new")


@pytest.mark.parametrize("exists", [True, False])
def test_texts_and_locks_are_not_written_through_a_link(tmp_path: Path, victim: Path, *, exists: bool) -> None:
    """A link from a stranger's study could have had its last line cut off: it is no text of ours."""
    if not exists:
        victim.unlink()
    (tmp_path / "point").mkdir()
    (tmp_path / "point" / GENERATIONS).symlink_to(victim)
    (tmp_path / LOCK).symlink_to(victim)
    with pytest.raises(StorageError, match="is a symbolic link"), RunFolder(tmp_path / "point"):
        pass
    with pytest.raises(StorageError, match="is a symbolic link"), Ledger(tmp_path, print).locked():
        pass
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "precious"


def test_a_study_that_lies_behind_a_link_is_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    with RunFolder(tmp_path / "runs" / "s" / "point") as folder:
        folder.write_json("costs.json", {})
    assert (tmp_path / "disk" / "s" / "point" / "costs.json").is_file()


def test_drafts_of_killed_processes_are_swept_and_those_of_others_are_not(tmp_path: Path) -> None:
    old, young, other = (tmp_path / f".{name}.part" for name in ("a.json.1234", "a.json.5678", "b.json.1234"))
    for draft in (old, young, other):
        draft.write_text("half")
    for draft in (old, other):
        os.utime(draft, (0, 0))
    replace_file(tmp_path / "a.json", b"{}")
    assert sorted(os.listdir(tmp_path)) == [young.name, other.name, "a.json"]


def _run_folder(path: Path) -> None:
    with RunFolder(path):
        pass


def _ledger(path: Path) -> None:
    with Ledger(path, print).locked():
        pass


WRITERS: dict[str, Callable[[Path], None]] = {
    "run folder": _run_folder,
    "ledger": _ledger,
    "file": lambda path: replace_file(path / "file", b""),
    "before the work": lambda path: require_writable(path / "file"),
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which nobody may write")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_in_which_nothing_can_be_made_is_named(write: Callable[[Path], None]) -> None:
    with pytest.raises(StorageError, match=r"nothing can be created in /proc \(.*name another folder") as caught:
        write(Path("/proc/cdeval/s"))
    assert "run the command" not in str(caught.value)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("deep", ["", "deeper/still"])
def test_a_file_in_the_way_is_named(tmp_path: Path, write: Callable[[Path], None], deep: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=rf"A file is where a folder is needed, {tmp_path / 'file'}\. Move it away"):
        write(tmp_path / "file" / deep)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=rf"{tmp_path / 'runs'} is a symbolic link"):
        write(tmp_path / "runs" / "s")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_name_that_the_disk_cannot_take_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(StorageError, match="The name is too long"):
        write(tmp_path / ("n" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_read_only_folder_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=rf"nothing can be created in {tmp_path} \(Permission denied\)"):
        write(tmp_path / "s")


def test_a_folder_where_a_file_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.json" / "x").mkdir(parents=True)
    for write in (lambda path: replace_file(path, b""), require_writable):
        with pytest.raises(StorageError, match="A folder of that name is in the way: move it away"):
            write(tmp_path / "scores.json")
    assert os.listdir(tmp_path) == ["scores.json"]


def test_asking_beforehand_leaves_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b" / "scores.json")
    assert os.listdir(tmp_path) == []
