"""The demands of Every Eval Ever's schema 0.3.0, as far as this project's files could break them; in JSON Schema."""

from typing import Any

NUMBER, TEXT, WHOLE, TRUTH = ({"type": kind} for kind in ("number", "string", "integer", "boolean"))
DETAILS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
BOUND = {"anyOf": [NUMBER, {"enum": ["Infinity", "-Infinity", None]}]}


def needs(*required: str, closed: bool = False, **properties: Any) -> dict[str, Any]:
    """An object with these properties, of which some must be there; `closed`: and no others."""
    found = {"type": "object", "required": list(required), "properties": properties}
    return found | ({"additionalProperties": False} if closed else {})


_METRIC = needs(
    "lower_is_better",
    evaluation_description=TEXT,
    metric_id=TEXT,
    metric_name=TEXT,
    metric_kind=TEXT,
    metric_unit=TEXT,
    metric_parameters={"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    lower_is_better=TRUTH,
    score_type={"enum": ["binary", "continuous", "levels"]},
    min_score=BOUND,
    max_score=BOUND,
    additional_details=DETAILS,
) | {
    "if": {"properties": {"score_type": {"const": "continuous"}}, "required": ["score_type"]},
    "then": {"required": ["min_score", "max_score"]},
}
_INTERVAL = needs(
    "lower",
    "upper",
    lower=NUMBER,
    upper=NUMBER,
    confidence_level={"type": "number", "minimum": 0, "maximum": 1},
    method=TEXT,
)
_SCORE = needs(
    "score",
    score=NUMBER,
    details=DETAILS,
    uncertainty=needs(confidence_interval=_INTERVAL, num_samples=WHOLE, num_bootstrap_samples=WHOLE),
)
_GENERATION = needs(
    generation_args=needs(temperature=NUMBER, top_p=NUMBER, top_k=NUMBER, max_tokens={"type": "integer", "minimum": 1}),
    additional_details=DETAILS,
)
_RESULT = needs(
    "evaluation_name",
    "source_data",
    "metric_config",
    "score_details",
    evaluation_result_id=TEXT,
    evaluation_name=TEXT,
    source_data=needs(
        "dataset_name", "source_type", dataset_name=TEXT, source_type={"const": "other"}, additional_details=DETAILS
    ),
    metric_config=_METRIC,
    score_details=_SCORE,
    generation_config=_GENERATION,
)
_MODEL = needs(
    "name",
    "id",
    "additional_details",
    name=TEXT,
    id=TEXT,
    inference_engine=needs(name=TEXT, version=TEXT),
    additional_details=needs(
        "deployment_type",
        "model_availability",
        deployment_type={"enum": ["self_deployed", "externally_managed", "unknown"]},
        model_availability={"enum": ["open_weights", "closed_weights", "unknown"]},
    )
    | {"additionalProperties": TEXT},
)
_UUID4 = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-4[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}"
AGGREGATE = needs(
    "schema_version",
    "evaluation_id",
    "retrieved_timestamp",
    "source_metadata",
    "model_info",
    "eval_library",
    "evaluation_results",
    closed=True,
    schema_version=TEXT,
    evaluation_id=TEXT,
    evaluation_timestamp=TEXT,
    retrieved_timestamp=TEXT,
    source_metadata=needs(
        "source_type",
        "source_organization_name",
        "evaluator_relationship",
        source_name=TEXT,
        source_type={"enum": ["documentation", "evaluation_run"]},
        source_organization_name=TEXT,
        evaluator_relationship={"enum": ["first_party", "third_party", "collaborative", "other"]},
        additional_details=DETAILS,
    ),
    eval_library=needs("name", "version", name=TEXT, version=TEXT, additional_details=DETAILS),
    model_info=_MODEL,
    evaluation_results={"type": "array", "items": _RESULT},
    detailed_evaluation_results=needs(
        "format",
        "file_path",
        format={"const": "jsonl"},
        file_path={"type": "string", "pattern": rf"^data/[^/]+/[^/]+/[^/]+/{_UUID4}_samples\.jsonl$"},
        hash_algorithm={"enum": ["sha256", "md5"]},
        checksum=TEXT,
        total_rows=WHOLE,
    ),
)
_COUNT = {"type": "integer", "minimum": 0}
INSTANCE = needs(
    "schema_version",
    "evaluation_id",
    "model_id",
    "evaluation_name",
    "sample_id",
    "interaction_type",
    "input",
    "output",  # of one turn
    "answer_attribution",
    "evaluation",
    closed=True,
    schema_version=TEXT,
    evaluation_id=TEXT,
    model_id=TEXT,
    evaluation_name=TEXT,
    evaluation_result_id=TEXT,
    sample_id=TEXT,
    sample_hash=TEXT,
    interaction_type={"const": "single_turn"},
    input=needs("raw", "reference", raw=TEXT, reference={"type": "array", "items": TEXT}),
    output=needs("raw", raw={"type": "array", "items": TEXT}),
    answer_attribution={"type": "array", "maxItems": 0},
    evaluation=needs(
        "score", "is_correct", score=NUMBER, is_correct=TRUTH, num_turns={"type": "integer", "minimum": 1}
    ),
    token_usage=needs(
        *("input_tokens", "output_tokens", "total_tokens"),
        input_tokens=_COUNT,
        output_tokens=_COUNT,
        total_tokens=_COUNT,
    ),
    metadata=DETAILS,
)
