"""A study in the form of Every Eval Ever, schema 0.3.0 (github.com/evaleval/every_eval_ever): two files an arm.

    data/<study>/<developer>/<model>/<id>.json            every metric with its interval, costs, and what decoded
    data/<study>/<developer>/<model>/<id>_samples.jsonl   one line a text and metric that scores text by text

The folders are those of its data store, to which the files can be given as they are. The setting of the contrast stands
in `generation_config.additional_details`, a text a setting. A metric without a value is no result there: it is named in
`source_metadata.additional_details`. The schema wants to know of each text whether it is correct, which no metric of
open text says: `is_correct` is false, and `metadata` says why. The human texts are no model's and are left out.
"""

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cdeval import __version__
from cdeval.config.naming import slug
from cdeval.metrics.registry import Better, Metric, all_metrics
from cdeval.records import Estimate, Generation
from cdeval.report.measures import COSTS, Measure
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.texts import text_scores
from cdeval.store.private import masked_all
from cdeval.store.strict_json import encode, to_page

SCHEMA = "0.3.0"
_OPEN = "no metric of open-ended text says whether a text is correct"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")  # how the hub calls a model


class Evaluator(NamedTuple):
    """The organisation that ran the evaluation, and how it is related to the model's."""

    organization: str
    relationship: str  # first_party, third_party, collaborative or other


def every_eval_ever(study: Study, evaluator: Evaluator, now: int) -> dict[str, bytes]:
    """Write the arms of a study in that form.

    Args: study: as its files have it. evaluator: who ran it. now: when the files are written [seconds since 1970].
    Returns: the content of each file by its path below the folder of exports.
    """
    files: dict[str, bytes] = {}
    for arm in study.current.decoded:
        name = _name_of(study, arm)
        developer, model = model_id(arm).split("/", 1)
        place = f"data/{_part(study.name)}/{_part(developer)}/{_part(model)}/{_id(name, arm)}"
        evaluation = f"{name}/{model_id(arm)}/{now}"
        lines = list(_instances(study, arm, evaluation))
        samples = encode("".join(f"{json.dumps(masked_all(line), ensure_ascii=False)}\n" for line in lines))
        page = _aggregate(study, arm, evaluation, evaluator, now)
        if lines:
            page["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": f"{place}_samples.jsonl",
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(samples).hexdigest(),
                "total_rows": len(lines),
            }
            files[f"{place}_samples.jsonl"] = samples
        files[f"{place}.json"] = to_page(page)
    return files


def model_id(arm: Arm) -> str:
    """Name the expert as the hub does, developer/model: local/<folder> for a folder, embedded/<name> for an asset."""
    models = arm.provenance.get("models") or {}
    name = str(models.get("expert") or (arm.config.get("expert") or {}).get("name") or "unknown")
    if models.get("revision") is not None or (_HUB.fullmatch(name) and not name.startswith((".", "~"))):
        return name if "/" in name else f"unknown/{name}"
    kind, _, inside = name.partition(":")
    return f"{kind}/{inside}" if inside and "/" not in name else f"local/{name.rstrip('/').rpartition('/')[2]}"


def _name_of(study: Study, arm: Arm) -> str:
    return f"{_part(arm.study or study.name)}.{_part(arm.folder)}"


def _part(name: str) -> str:
    return slug(name) or "unnamed"


def _id(name: str, arm: Arm) -> str:
    """Make a version 4 UUID of what the arm is, so that a second export replaces the first."""
    known = json.dumps([name, model_id(arm), arm.provenance.get("prompts_digest"), arm.setting], sort_keys=True)
    return str(uuid.UUID(bytes=hashlib.sha256(known.encode()).digest()[:16], version=4))


def _aggregate(study: Study, arm: Arm, evaluation: str, evaluator: Evaluator, now: int) -> dict[str, Any]:
    models = arm.provenance.get("models") or {}
    facts = ("revision", "fingerprint", "dtype", "device", "architecture")
    details = {f"expert_{name}": str(models[name]) for name in facts if models.get(name) is not None}
    source = {
        "source_name": f"cdeval study {study.name}",
        "source_type": "evaluation_run",
        "source_organization_name": evaluator.organization,
        "evaluator_relationship": evaluator.relationship,
        "additional_details": {"arm": arm.label, "role": arm.role, **_without_value(arm)},
    }
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "retrieved_timestamp": str(now),
        **_timestamp(arm),
        "source_metadata": source,
        "eval_library": {"name": "cdeval", "version": _version(arm), "additional_details": _libraries(arm)},
        "model_info": {
            "name": str(models.get("expert") or "unknown"),
            "id": model_id(arm),
            "inference_engine": {"name": "cdeval", "version": _version(arm)},
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "open_weights" if models else "unknown",
                **details,
            },
        },
        "evaluation_results": [*_scores(study, arm), *_costs(study, arm)],
    }


def _timestamp(arm: Arm) -> dict[str, str]:
    started = arm.provenance.get("started_utc")
    return {"evaluation_timestamp": started} if isinstance(started, str) else {}


def _version(arm: Arm) -> str:
    return str((arm.provenance.get("cdeval") or {}).get("version") or __version__)


def _libraries(arm: Arm) -> dict[str, str]:
    commit = (arm.provenance.get("cdeval") or {}).get("commit")
    known = {"commit": commit, **(arm.provenance.get("libraries") or {})}
    return {name: str(value) for name, value in known.items() if value is not None}


def _without_value(arm: Arm) -> dict[str, str]:
    """The metrics that have no value, each with the reason."""
    missing = {name: one for name, one in arm.scores.items() if not math.isfinite(one.value)}
    return {f"without value: {name}": one.note or "no text has a value" for name, one in missing.items()}


def _scores(study: Study, arm: Arm) -> Iterator[dict[str, Any]]:
    known = {metric.name: metric for metric in (*arm.stored, *all_metrics())}
    for name, found in arm.scores.items():
        if math.isfinite(found.value):
            yield _result(study, arm, _metric_config(known.get(name) or Metric(name=name)), _details(arm, found))


def _costs(study: Study, arm: Arm) -> Iterator[dict[str, Any]]:
    for cost in COSTS:
        found = arm.value(cost.name)
        if math.isfinite(found.value):
            yield _result(study, arm, _cost_config(cost), _details(arm, found))


def _result(study: Study, arm: Arm, metric: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    prompts = arm.config.get("prompts") or {}
    of_prompts = {name: str(value) for name, value in prompts.items() if value is not None}
    digest = arm.provenance.get("prompts_digest")
    return {
        "evaluation_result_id": metric["metric_id"],
        "evaluation_name": study.name,
        "source_data": {
            "dataset_name": str(prompts.get("source") or "texts of others"),
            "source_type": "other",
            "additional_details": {**of_prompts, **({"prompts_digest": str(digest)} if digest else {})},
        },
        "metric_config": dict(metric),
        "score_details": dict(details),
        "generation_config": _generation(arm),
    }


def _metric_config(metric: Metric) -> dict[str, Any]:
    return {
        "evaluation_description": f"{metric.label} of continuations",
        "metric_id": f"cdeval.{metric.name}",
        "metric_name": metric.label,
        "metric_kind": metric.name,
        **({"metric_unit": metric.unit} if metric.unit else {}),
        "lower_is_better": metric.better is Better.lower,
        "score_type": "continuous",
        "min_score": _bound(metric.bounds[0]),
        "max_score": _bound(metric.bounds[1]),
        "additional_details": {"better": metric.better.name},
    }


def _cost_config(cost: Measure) -> dict[str, Any]:
    # As it is stored, in the unit of its name, and not in the larger one that people are shown.
    return {
        "evaluation_description": f"{cost.title} of decoding",
        "metric_id": f"cdeval.{cost.name}",
        "metric_name": cost.title,
        "metric_kind": "cost",
        "metric_parameters": {"shown_unit": cost.unit, "shown_scale": cost.scale},
        "lower_is_better": True,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": "Infinity",
    }


def _bound(value: float) -> float | str:
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _details(arm: Arm, found: Estimate) -> dict[str, Any]:
    details: dict[str, Any] = {
        "score": found.value,
        "details": {"missing": str(found.missing), **({"note": found.note} if found.note else {})},
    }
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return details
    asked = arm.config.get("metrics") or {}
    interval = {"lower": found.low, "upper": found.high, "method": "bootstrap over prompts"}
    if "confidence" in asked:
        interval["confidence_level"] = float(asked["confidence"])
    uncertainty: dict[str, Any] = {"confidence_interval": interval}
    if found.n:
        uncertainty["num_samples"] = found.n
    if "bootstrap_draws" in asked:
        uncertainty["num_bootstrap_samples"] = int(asked["bootstrap_draws"])
    return {**details, "uncertainty": uncertainty}


def _generation(arm: Arm) -> dict[str, Any]:
    """The setting that shaped the texts: what the schema has a name for, and all of it as texts."""
    if not arm.setting:
        return {}
    sampling = arm.setting.get("sampling") or {}
    known = {name: sampling[name] for name in ("temperature", "top_p", "top_k") if sampling.get(name) is not None}
    tokens = arm.setting.get("max_new_tokens")
    if isinstance(tokens, int) and tokens > 0:
        known["max_tokens"] = tokens
    return {"generation_args": known, "additional_details": flat_setting(arm.setting)}


def flat_setting(setting: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Write a setting a text a name, what is inside of others with dots; what is not set is left out.

    >>> flat_setting({"alpha": 0.3, "amateur": {"kind": "early_exit", "layer": 24}, "weight": None})
    {'alpha': '0.3', 'amateur.kind': 'early_exit', 'amateur.layer': '24'}
    """
    found: dict[str, str] = {}
    for name, value in setting.items():
        if isinstance(value, Mapping):
            found |= flat_setting(value, f"{path}{name}.")
        elif value is not None:
            found[f"{path}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def _instances(study: Study, arm: Arm, evaluation: str) -> Iterator[dict[str, Any]]:
    texts = {(text.id, text.sample): text for text in arm.generations}
    for metric, scores in text_scores(arm, [*all_metrics(), *arm.stored]).items():
        for key, value in scores.items():
            if key in texts:
                yield _instance(study, arm, texts[key], evaluation) | {
                    "evaluation_result_id": f"cdeval.{metric}",
                    "evaluation": {"score": value, "is_correct": False, "num_turns": 1},
                }


def _instance(study: Study, arm: Arm, text: Generation, evaluation: str) -> dict[str, Any]:
    reference = [] if text.reference is None else [text.reference]
    whole = f"{text.prompt}{''.join(reference)}".encode("utf-8", "surrogatepass")
    read, made = len(text.prompt_token_ids), len(text.token_ids)
    usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "model_id": model_id(arm),
        "evaluation_name": study.name,
        "sample_id": text.id,
        "sample_hash": hashlib.sha256(whole).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": text.prompt, "reference": reference},
        "output": {"raw": [text.continuation]},
        "answer_attribution": [],
        **({"token_usage": usage} if read else {}),
        "metadata": {"sample": str(text.sample), "is_correct": _OPEN},
    }
