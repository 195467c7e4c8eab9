"""vLLM offline: each `RequestOutput` of `LLM.generate` as a mapping of its fields, a JSON object a line or one list.

    json.dump([{"request_id": one.request_id, "prompt": one.prompt, "outputs": [vars(two) for two in one.outputs]}
               for one in outputs], file)

What vLLM serves has the form of OpenAI's interface (`cdeval.score.foreign.completions`).
"""

from collections.abc import Mapping
from typing import Any

from cdeval.score.foreign.form import Foreign, Record, get


def _fits(item: Mapping[str, Any]) -> bool:
    outputs = item.get("outputs")
    return isinstance(outputs, list) and bool(outputs) and get(outputs[0], "text") is not None


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    outputs = sorted(item["outputs"], key=lambda one: one.get("index") or 0)
    return [Record([get(one, "text") for one in outputs], item.get("prompt"), source=item)]


FORMAT = Foreign("vLLM outputs", _fits, _records)
