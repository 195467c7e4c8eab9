"""The facts in a run folder about the texts in it, for whoever reads them again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cdeval.config.enums import Ban
from cdeval.models.loading import ReadingModel
from cdeval.store.hashing import is_whole


def fingerprint_beside(path: Path) -> str | None:
    """The fingerprint of the model whose tokens a run folder's file holds; None where nothing says it."""
    return _said(path.parent / "provenance.json", json.loads, "models", "fingerprint")


def is_by_sample(path: Path) -> bool:
    """Whether a run folder's file is of an older release, which knew the model by a sample of its weights alone."""
    found = fingerprint_beside(path)
    return found is not None and not is_whole(found)


def ban_beside(path: Path, model: ReadingModel) -> Ban | None:
    """Find what could not be drawn when this model, in this number format, wrote the texts of a run folder's file.

    None where another model or format wrote them, or where nothing says so. (Texts of early exits say so themselves.)
    """
    record = path.parent / "provenance.json"
    ban = _said(path.parent / "config.yaml", yaml.safe_load, "search", "ban")
    wrote = (_said(record, json.loads, "models", "fingerprint"), _said(record, json.loads, "models", "dtype"))
    if wrote != (model.fingerprint, model.dtype_name):
        return None
    return Ban.__members__.get(ban or "")


def _said(path: Path, parse: Callable[[str], Any], part: str, name: str) -> str | None:
    """Read one text of a settings file; None where the file, or that text in it, is not there."""
    try:
        found = parse(path.read_text(encoding="utf-8"))[part][name]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) else None
