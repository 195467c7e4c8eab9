"""The run folder survives crashes, full disks and strange texts, and never loses or merges a line."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cdeval.config.enums import Dtype
from cdeval.errors import StorageError
from cdeval.records import Estimate, Generation
from cdeval.store import folder as store
from cdeval.store.folder import GENERATIONS, SUMMARY, RunFolder
from cdeval.store.strict_json import estimate_from_json


def generation(name: str, text: str = "a continuation") -> Generation:
    return Generation(
        id=name,
        prompt="a prompt",
        prompt_token_ids=(1, 2, 3),
        reference=None,
        continuation=text,
        token_ids=(4, 5),
        logprob_expert=-1.5,
        score=None,
    )


def stored(path: Path, *names: str) -> Path:
    with RunFolder(path) as folder:
        folder.append(generation(name) for name in names)
    return path / GENERATIONS


def ids(path: Path) -> list[str]:
    return [name for name, _ in RunFolder(path).generations()]


def test_texts_come_back_equal_and_in_order(tmp_path: Path) -> None:
    human = Generation("h", "p", (1,), "r\u2028eference", "c\x85\r\nd", (), None, None)
    with RunFolder(tmp_path / "study" / "point") as folder:
        folder.append([generation("b"), human])
        folder.append([generation("a", "naïve 東京 🙂")])
    found = RunFolder(tmp_path / "study" / "point").generations()
    assert list(found) == [("b", 0), ("h", 0), ("a", 0)]
    assert list(found.values()) == [generation("b"), human, generation("a", "naïve 東京 🙂")]
    assert "naïve 東京 🙂" in (tmp_path / "study" / "point" / GENERATIONS).read_text("utf-8")


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that had nothing to decode read 15 000 texts five times."""
    path = stored(tmp_path, "a", "b")
    reads = []
    read = store._parse
    monkeypatch.setattr(store, "_parse", lambda *args: reads.append(1) or read(*args))
    with RunFolder(tmp_path) as folder:
        folder.generations().clear()
        assert ids(tmp_path) == [name for name, _ in folder.generations()] == ["a", "b"]
        assert len(reads) == 1
        folder.append([generation("c")])
        assert [name for name, _ in folder.generations()] == ids(tmp_path) == ["a", "b", "c"]
        before = path.stat()
        path.write_bytes(path.read_bytes().replace(b'"c"', b'"d"'))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert [name for name, _ in folder.generations()] == ids(tmp_path) == ["a", "b", "d"]
        assert len(reads) == 3
        assert not folder.done
    del folder
    assert not store._READ, "texts that nobody holds are kept"
    assert ids(tmp_path) == ["a", "b", "d"]


def test_a_folder_without_a_torn_line_is_not_written_to(tmp_path: Path) -> None:
    path = stored(tmp_path, "a")
    os.utime(path, ns=(0, 0))
    with RunFolder(tmp_path):
        pass
    assert path.stat().st_mtime_ns == 0


def test_half_a_surrogate_pair_is_stored_as_valid_utf8_and_comes_back(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.append([generation("a", "broken \ud83d emoji")])
        folder.write_json("metrics.json", {"note": "\udc80"})
        folder.write_text("config.yaml", "study: \udc80\n")
        assert folder.read_json("metrics.json") == {"note": "\udc80"}
    assert RunFolder(tmp_path).generations()["a", 0].continuation == "broken \ud83d emoji"
    (tmp_path / GENERATIONS).read_bytes().decode("utf-8", "strict")


@pytest.mark.parametrize(
    "tail",
    [b'{"id": "c", "prompt": "a pro', b"\x00" * 700, b'{"id": "c", "pro\xf0\x9f', b"garbage\n", b"garbage\n\n  \n"],
    ids=["half a line", "zeros", "half a character", "a whole line", "blank lines after it"],
)
def test_a_torn_last_line_is_left_out_and_the_next_text_does_not_join_it(tmp_path: Path, tail: bytes) -> None:
    path = stored(tmp_path, "a", "b")
    path.write_bytes(path.read_bytes() + tail)
    assert ids(tmp_path) == ["a", "b"]
    assert path.read_bytes().endswith(tail), "reading must not change the file"
    stored(tmp_path, "c")
    assert ids(tmp_path) == ["a", "b", "c"]
    assert len(path.read_bytes().splitlines()) == 3


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = stored(tmp_path, "a", "b")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    stored(tmp_path, "c")
    assert ids(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("broken", ["garbage", "7", "{}", '{"id": 3}'])
def test_a_broken_line_before_the_last_is_an_error_that_names_it(tmp_path: Path, broken: str) -> None:
    path = stored(tmp_path, "a", "b", "c")
    first, _, last = path.read_text("utf-8").splitlines()
    path.write_text("\n".join((first, broken, last, "")), "utf-8")
    with pytest.raises(StorageError, match=rf"{GENERATIONS}, line 2 .*Delete that line"):
        RunFolder(tmp_path).generations()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="line 2"), RunFolder(tmp_path):
        pass
    assert path.read_bytes() == before


def test_a_last_line_that_is_json_but_no_text_is_not_cut_off(tmp_path: Path) -> None:
    path = stored(tmp_path, "a")
    path.write_text(path.read_text("utf-8") + '{"id": "b", "prompt": "from another program"}\n', "utf-8")
    with pytest.raises(StorageError, match=r"line 2 .*`prompt_token_ids` is missing"):
        RunFolder(tmp_path).generations()


def test_two_different_texts_for_one_prompt_are_an_error_and_a_repeated_line_is_not(tmp_path: Path) -> None:
    stored(tmp_path, "a", "a")
    assert ids(tmp_path) == ["a"]
    with RunFolder(tmp_path) as folder:
        folder.append([generation("a", "something else")])
    with pytest.raises(StorageError, match=r"line 3 .*'a'"):
        RunFolder(tmp_path).generations()


def test_samples_of_a_prompt_are_texts_of_their_own(tmp_path: Path) -> None:
    """And a file from before there were samples and exits holds first ones without exits."""
    samples = [replace(generation("a", f"text {sample}"), sample=sample, exit_layers=(3, 4)) for sample in (1, 0)]
    with RunFolder(tmp_path) as folder:
        folder.append([*samples, samples[0]])
    assert RunFolder(tmp_path).generations() == {("a", 1): samples[0], ("a", 0): samples[1]}
    old = {**json.loads((tmp_path / GENERATIONS).read_text().splitlines()[1]), "id": "b"}
    del old["sample"], old["exit_layers"]
    with (tmp_path / GENERATIONS).open("a") as file:
        file.write(json.dumps(old) + "\n")
    assert list(RunFolder(tmp_path).generations()) == [("a", 1), ("a", 0), ("b", 0)]
    assert RunFolder(tmp_path).generations()["b", 0].exit_layers == ()
    with RunFolder(tmp_path) as folder:
        folder.append([replace(samples[0], continuation="something else")])
    with pytest.raises(StorageError, match=r"line 5 .*sample 1 of the prompt 'a'"):
        RunFolder(tmp_path).generations()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to let files grow beyond `size`, after a partial write, just as a full disk does."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_keeps_whole_lines_and_says_how_many(tmp_path: Path) -> None:
    line = stored(tmp_path, "a").stat().st_size
    with RunFolder(tmp_path) as folder:
        with (
            file_size_limit(line * 2 + line // 2),
            pytest.raises(StorageError, match=r"2 texts are saved there: .*continues after them"),
        ):
            folder.append([generation("b"), generation("c")])
        assert (tmp_path / GENERATIONS).stat().st_size == line * 2
        folder.append([generation("d")])
    assert ids(tmp_path) == ["a", "b", "d"]


def test_a_full_disk_is_named_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with RunFolder(tmp_path) as folder:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"No space left on device.*Make room"):
            folder.write_json("metrics.json", {"a": 1.0})
        assert not (tmp_path / "metrics.json").exists()


def test_a_failed_replacement_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.write_json("metrics.json", {"a": 1.0})
        with file_size_limit(100), pytest.raises(StorageError):
            folder.write_json("metrics.json", {"a": "x" * 1000})
        assert folder.read_json("metrics.json") == {"a": 1.0}
    assert sorted(os.listdir(tmp_path)) == [GENERATIONS, "metrics.json"]


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.write_json("metrics.json", {"version": 1})
        with (tmp_path / "metrics.json").open("rb") as reader:
            folder.write_json("metrics.json", {"version": 2})
            assert json.load(reader) == {"version": 1}, "written in place: a crash would have left a half"
        assert folder.read_json("metrics.json") == {"version": 2}


def test_json_is_strict_sorted_and_missing_numbers_come_back_as_nan(tmp_path: Path) -> None:
    score = Estimate(value=0.5, low=math.nan, high=math.inf, n=3, missing=2, note="ünscored")
    with RunFolder(tmp_path) as folder:
        folder.write_json("metrics.json", {"z": score, "a": [np.float32(0.5), np.int64(3), -math.inf, Dtype.bfloat16]})
        record = folder.read_json("metrics.json")
    text = (tmp_path / "metrics.json").read_text("utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert text.index('"a"') < text.index('"z"')
    assert isinstance(record, dict)
    assert record["a"] == [0.5, 3, None, "bfloat16"]
    back = estimate_from_json(record["z"])
    assert (back.value, back.n, back.missing, back.note) == (0.5, 3, 2, "ünscored")
    assert math.isnan(back.low)
    assert math.isnan(back.high)


def test_finish_marks_the_run_as_done_and_nan_survives(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        with pytest.raises(StorageError, match=SUMMARY):
            folder.summary()
        assert not folder.done
        folder.finish({"mauve": math.nan, "tokens": 8})
        assert folder.done
    summary = RunFolder(tmp_path).summary()
    assert math.isnan(summary["mauve"])
    assert summary["tokens"] == 8.0
    with pytest.raises(TypeError, match="Path"), RunFolder(tmp_path) as folder:
        folder.write_json("costs.json", {"path": tmp_path})


def test_a_broken_file_and_a_missing_one_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"a": ')
    (tmp_path / SUMMARY).write_text('{"a": "high"}')
    with pytest.raises(StorageError, match=r"metrics\.json is not JSON"):
        RunFolder(tmp_path).read_json("metrics.json")
    with pytest.raises(StorageError, match=r"costs\.json: No such file"):
        RunFolder(tmp_path).read_json("costs.json")
    with pytest.raises(StorageError, match="`a` is 'high', expected a number"):
        RunFolder(tmp_path).summary()


def test_a_file_in_the_way_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("not a folder")
    for path in (tmp_path / "study", tmp_path / "study" / "point"):
        with pytest.raises(StorageError, match=r"study.*A file is where a folder is needed"), RunFolder(path):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_user_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Set runs="), RunFolder(tmp_path / "study"):
        pass


def test_writing_outside_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="with RunFolder"):
        RunFolder(tmp_path).finish({})
    assert os.listdir(tmp_path) == []


WRITER = """
import sys
from pathlib import Path
from cdeval.store.folder import RunFolder
with RunFolder(Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_kept_out_until_the_first_ends_even_by_a_crash(tmp_path: Path) -> None:
    stored(tmp_path, "a")
    writer = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(writer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            with pytest.raises(StorageError, match="written by another process"), RunFolder(tmp_path):
                pass
            assert ids(tmp_path) == ["a"], "reading needs no lock"
        finally:
            process.kill()
    stored(tmp_path, "b")
    assert ids(tmp_path) == ["a", "b"]
