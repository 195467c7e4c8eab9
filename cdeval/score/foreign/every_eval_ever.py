"""Every Eval Ever: instance-level records, schema 0.3.0, a JSONL file an evaluation, ours or anybody's.

A sample stands there once a metric: the first record of it counts. Only one-turn records are read; others are chats of
several turns, which have no one text.
"""

from collections.abc import Mapping
from typing import Any

from cdeval.errors import TextsError
from cdeval.score.foreign.form import Foreign, Record, first_text, get


def _fits(item: Mapping[str, Any]) -> bool:
    return {"schema_version", "evaluation_id", "sample_id", "interaction_type"} <= set(item)


def _records(item: Mapping[str, Any], where: str) -> list[Record]:
    texts = get(item, "output.raw")
    if item["interaction_type"] != "single_turn" or not isinstance(texts, list):
        raise TextsError(f"{where}: a record of {item['interaction_type']}: expected single_turn, with output.raw.")
    sample = get(item, "metadata.sample")
    prompt = get(item, "input.formatted")
    prompt = get(item, "input.raw") if prompt is None else prompt
    same = f"{item['sample_id']}, sample {sample}" if sample is not None else str(item["sample_id"])
    return [Record(texts, prompt, first_text(get(item, "input.reference")), item["sample_id"], same, source=item)]


FORMAT = Foreign("Every Eval Ever instances", _fits, _records, lasting_ids=True)
