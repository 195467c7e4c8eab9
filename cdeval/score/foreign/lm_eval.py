"""lm-evaluation-harness: the samples that `lm_eval --log_samples` writes, a JSONL file a task.

A document stands there once a filter, each time with the same responses: the first one counts. A response of a task of
choices is a log-likelihood, and no text.
"""

from collections.abc import Mapping
from typing import Any

from cdeval.errors import TextsError
from cdeval.score.foreign.form import Foreign, Record, as_text, first_text, get


def _fits(item: Mapping[str, Any]) -> bool:
    return {"doc_id", "arguments", "resps"} <= set(item)


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    texts = [text for of_request in item["resps"] or [] for text in _flat(of_request)]
    if any(isinstance(text, list | tuple) or not isinstance(text, str) for text in texts):
        raise TextsError(
            f"{where}: 'resps' holds log-likelihoods of choices and no texts: expected the samples of a task that "
            "generates (output_type: generate_until)."
        )
    prompt = get(item["arguments"], "gen_args_0.arg_0")  # of lm_eval since 0.4.3
    if prompt is None:
        prompt = get(item["arguments"], "0.0")
    reference = as_text(first_text(item.get("target")))
    document = f"{item['doc_id']}"
    return [Record(texts, prompt, reference, document, same=document, source=item)]


def _flat(of_request: object) -> list[Any]:
    return of_request if isinstance(of_request, list) else [of_request]


FORMAT = Foreign("lm_eval samples", _fits, _records)
