"""lighteval: the details of a task, a Parquet file with a row a document.

Columns since 0.10 are doc, model_response and metric, at times with two underscores around; before, full_prompt,
predictions and gold. Where a column could not be written as it is, lighteval wrote its values as Python writes them.
"""

import ast
from collections.abc import Mapping
from typing import Any

from cdeval.errors import TextsError
from cdeval.score.foreign.form import Foreign, Record, as_text, first_text, get


def _column(item: Mapping[str, Any], name: str) -> Any:
    return _read(item.get(name, item.get(f"__{name}__")))


def _read(value: object) -> Any:
    """A value that was written as Python writes lists and mappings; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return value


def _fits(item: Mapping[str, Any]) -> bool:
    return isinstance(_column(item, "doc"), Mapping) and isinstance(_column(item, "model_response"), Mapping)


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    document, response = _column(item, "doc"), _column(item, "model_response")
    texts = response.get("text") or []
    prompt = response.get("input")
    if not isinstance(prompt, str):  # a chat's messages, or nothing
        prompt = document.get("query")
    gold = first_text(document.get("gold_index"))
    reference = get(document, f"choices.{gold}") if gold is not None else None
    return [Record(_some(texts, where), prompt, as_text(first_text(reference)), document.get("id"), source=item)]


def _fits_older(item: Mapping[str, Any]) -> bool:
    return {"full_prompt", "predictions"} <= set(item)


def _records_older(item: Mapping[str, Any], where: str) -> list[Record]:
    texts = _read(item["predictions"])
    reference = as_text(first_text(_read(item.get("gold"))))
    return [Record(_some(texts, where), item["full_prompt"], reference, source=item)]


def _some(texts: object, where: str) -> list[Any]:
    found: list[Any] = texts if isinstance(texts, list) else [texts]
    while found and all(isinstance(text, list) for text in found):  # a list a request
        found = [text for of_request in found for text in of_request]
    if not found or not all(isinstance(text, str) for text in found):
        raise TextsError(
            f"{where}: these details hold no texts, as those of tasks that weigh choices: expected the details of a "
            "task that generates."
        )
    return found


FORMAT = Foreign("lighteval details", _fits, _records)
OLDER = Foreign("lighteval details before 0.10", _fits_older, _records_older)
