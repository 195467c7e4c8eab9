"""transformers' text-generation pipeline: what it returns, as JSON: a list a prompt of {"generated_text": …}.

The texts begin with their prompts, unless the pipeline was called with return_full_text=False; a chat's text is the
last message. The prompts themselves are not in there: `fields.prompts_from` names a file that has them.
"""

from collections.abc import Mapping
from typing import Any

from cdeval.score.foreign.form import Foreign, Record, get, message_text

_FIELD = "generated_text"


def _fits(item: Mapping[str, Any]) -> bool:
    return _FIELD in item and not {"prefix_text", "generated_result"} & set(item)


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    text = item[_FIELD]
    if isinstance(text, list) and text and isinstance(text[-1], Mapping):
        text = message_text(get(text[-1], "content"))
    return [Record([text], item.get("prompt"), id=item.get("id"), source=item)]


FORMAT = Foreign("transformers pipeline", _fits, _records, prompts=False, in_front=True)
