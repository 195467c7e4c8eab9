"""Votes as raters hand them in, the form's JSON or the filled CSV, checked against the key."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdeval.errors import TextsError
from cdeval.store.item_file import ItemFile
from cdeval.store.strict_json import parse

CHOICES = ("left", "right", "tie")
_JSON = 'expected the JSON that the form saves: {"sheet": …, "rater": …, "votes": {"p001": "left", …}}'
_CSV = "expected the CSV of the sheet with left, right or tie in its column vote"


@dataclass(frozen=True, slots=True)
class Key:
    """The writers of the texts that raters saw."""

    sheet: str  # digest of what raters saw
    arms: tuple[str, str]
    ids: Mapping[str, str]  # code of a pair: id of its prompt
    first_is_left: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Ballot:
    """One rater's votes."""

    rater: str
    votes: Mapping[str, str]  # code of a pair: left, right or tie; pairs without a vote are left out


def read_key(path: Path) -> Key:
    """The key file of an export. Raises: TextsError: it cannot be read, or is something else."""
    shape = "expected the key.json that export=pairs wrote"
    text = ItemFile(path, "key", shape, TextsError).text()
    try:
        record = parse(text.encode())
        first, second = record["arms"]
        pairs = record["pairs"]
        if any(pair["left"] not in (first, second) for pair in pairs.values()):
            raise ValueError("a pair with an unknown arm")
        return Key(
            sheet=str(record["sheet"]),
            arms=(str(first), str(second)),
            ids={code: str(pair["id"]) for code, pair in pairs.items()},
            first_is_left={code: pair["left"] == first for code, pair in pairs.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TextsError(f"key={path} is not a key file ({error}): {shape}.") from error


def read_ballots(paths: Sequence[Path], key: Key) -> list[Ballot]:
    """Every rater's votes, one ballot a rater; a rater may hand in several files, which may not contradict each other.

    Raises: TextsError: a file cannot be read, belongs to another sheet, holds an unknown pair or vote, or says twice
        and differently what one rater thinks of a pair.
    """
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        for rater, code, vote in _votes(path, key):
            mine = found.setdefault(rater, {})
            if mine.setdefault(code, vote) != vote:
                raise TextsError(
                    f"{path}: {rater!r} votes {vote!r} on {code}, and {mine[code]!r} elsewhere: expected one vote a "
                    "rater and pair. Two people need two names."
                )
    if not any(found.values()):
        raise TextsError(f"votes={','.join(map(str, paths))}: no vote in there.")
    return [Ballot(rater, votes) for rater, votes in found.items()]


def _votes(path: Path, key: Key) -> list[tuple[str, str, str]]:
    text = ItemFile(path, "votes", f"{_JSON}, or {_CSV}", TextsError).text()
    read = _from_json if text.lstrip().startswith("{") else _from_csv
    return [
        (rater, _known(code, key, where), _choice(vote, where))
        for where, rater, code, vote in read(text, path, key)
        if vote.strip()
    ]


def _from_json(text: str, path: Path, key: Key) -> list[tuple[str, str, str, str]]:
    try:
        record = parse(text.encode())
        sheet, rater, votes = record["sheet"], str(record["rater"]).strip(), record["votes"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TextsError(f"{path}: {_JSON} ({type(error).__name__}: {error}).") from error
    if sheet != key.sheet:
        raise TextsError(
            f"{path} holds votes on the sheet {sheet!r}, but the key is of {key.sheet!r}: give its own key."
        )
    return [(f"{path}, {code}", rater or path.stem, str(code), str(vote)) for code, vote in votes]


def _from_csv(text: str, path: Path, key: Key) -> list[tuple[str, str, str, str]]:
    """A spreadsheet may have saved it with semicolons or tabs."""
    del key  # a CSV has no digest: its codes are checked
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # prompts are as long as they are
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return _rows(reader, path)
    except csv.Error as error:
        raise TextsError(f"{path} is no CSV that can be read ({error}): {_CSV}.") from error
    finally:
        csv.field_size_limit(limit)


def _rows(reader: "csv.DictReader[str]", path: Path) -> list[tuple[str, str, str, str]]:
    if not {"pair", "vote"} <= set(reader.fieldnames or ()):
        raise TextsError(f"{path}: {_CSV} (columns found: {', '.join(reader.fieldnames or ()) or 'none'}).")
    return [
        (
            f"{path}, line {reader.line_num}",
            (row.get("rater") or "").strip() or path.stem,
            row["pair"] or "",
            row["vote"] or "",
        )
        for row in reader
    ]


def _known(code: str, key: Key, where: str) -> str:
    if code not in key.ids:
        raise TextsError(f"{where}: there is no pair {code!r} in the key: give the key of this sheet.")
    return code


def _choice(vote: str, where: str) -> str:
    plain = vote.strip().lower()
    if plain not in CHOICES:
        raise TextsError(f"{where}: the vote is {vote!r}; expected {', '.join(CHOICES)}, or nothing.")
    return plain
