"""What a run folder says of the texts in it, to whoever reads them again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cdeval.choices import Ban
from cdeval.models.loading import LanguageModel


def fingerprint_beside(path: Path) -> str | None:
    """The fingerprint of the model whose tokens a run folder's file holds; None where nothing says it."""
    return _said(path.parent / "provenance.json", json.loads, "models", "fingerprint")


def logprobs_are_of(path: Path, model: LanguageModel) -> bool:
    """Whether `logprob_expert` in a run folder's file is what this model says of each text's tokens.

    It is where the model wrote them, in the same number format, and no text ended by itself: the log-probability of
    such a text counts the end-of-text token, which is not among its tokens. (Texts of early exits say so themselves.)
    """
    record = path.parent / "provenance.json"
    ban = _said(path.parent / "config.yaml", yaml.safe_load, "search", "ban")
    return (
        _said(record, json.loads, "models", "fingerprint") == model.fingerprint
        and _said(record, json.loads, "models", "dtype") == model.dtype_name
        and ban not in (None, Ban.none.name)
    )


def _said(path: Path, parse: Callable[[str], Any], part: str, name: str) -> str | None:
    """One text of a settings file; None where the file, or that text in it, is not there."""
    try:
        found = parse(path.read_text(encoding="utf-8"))[part][name]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) else None
