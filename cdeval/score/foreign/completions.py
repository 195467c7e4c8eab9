"""Responses of OpenAI's interface, as vLLM and many other servers give them: completions, chats, and their batches.

A response names no prompt: `fields.prompts_from` does. A response to a list of prompts has their choices in a row, the
same number for each. A line of a batch has the prompt's id as custom_id.
"""

from collections.abc import Mapping
from typing import Any

from cdeval.errors import TextsError
from cdeval.score.foreign.form import Foreign, Record, get, message_text


def _body(item: Mapping[str, Any]) -> Mapping[str, Any]:
    inside = get(item, "response.body")
    return inside if isinstance(inside, Mapping) else item


def _fits(item: Mapping[str, Any]) -> bool:
    choices = _body(item).get("choices")
    if not isinstance(choices, list) or not choices:  # a request that failed
        return isinstance(choices, list) or {"custom_id", "response"} <= set(item)
    return get(choices[0], "text") is not None or get(choices[0], "message") is not None


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    choices = _body(item).get("choices")
    if not isinstance(choices, list) or not choices:
        reason = get(item, "error.message") or get(item, "response.body.error.message") or "it has no choices"
        raise TextsError(f"{where}: a response without a text ({reason}): ask again, or delete it.")
    ordered = sorted(choices, key=lambda one: get(one, "index") or 0)  # type: ignore[arg-type, return-value]
    texts = [_text(one) for one in ordered]
    return [Record(texts, item.get("prompt"), id=item.get("custom_id"), source=item)]


def _text(choice: object) -> object:
    plain = get(choice, "text")
    return message_text(get(choice, "message.content")) if plain is None else plain


FORMAT = Foreign("completions", _fits, _records, prompts=False)
