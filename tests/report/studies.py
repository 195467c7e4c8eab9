"""Studies written file by file, as `run` and `score` leave them, without a model."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

HUMAN = {"label": "human", "role": "human", "folder": "human"}
PLAIN = {"kind": "none", "layer": None}


def setting(kind: str = "early_exit", layer: int | None = 8, **more: Any) -> dict[str, Any]:
    fixed = {"alpha": 0.1, "beta": 1.0, "temperature": 1.0, "search": "beam", "beams": 5}
    return {**fixed, "amateur": {"kind": kind, "layer": layer}, **more}


def score(value: float, width: float = 0.05) -> dict[str, Any]:
    return {"value": value, "low": value - width, "high": value + width, "n": 3, "missing": 0, "note": ""}


def write_arm(
    study: Path,
    row: Mapping[str, str],
    texts: Sequence[str],
    scores: Mapping[str, float],
    own: Mapping[str, Any] | None = None,
    costs: Mapping[str, float] | None = None,
) -> None:
    folder = study / row["folder"]
    folder.mkdir(parents=True)
    point = {"label": row["label"], "role": row["role"], "setting": own}
    (folder / "config.yaml").write_text(yaml.safe_dump({"study": study.name, "point": point}))
    provenance = {"models": {"expert": "tiny", "dtype": "float32"}, "cdeval": {"commit": "c0ffee" * 7, "dirty": False}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    if scores:  # costs alone have none
        (folder / "metrics.json").write_text(json.dumps({name: score(value) for name, value in scores.items()}))
    (folder / "divergence.json").write_text(json.dumps([] if own is None else [[1.0, 0.0], [0.8, 0.7], [0.0, 1.0]]))
    lines = [
        {
            "id": f"doc-{place}",
            "prompt": f"Beginning {place}",
            "prompt_token_ids": [1],
            "reference": None,
            "continuation": text,
            "token_ids": [2],
            "logprob_expert": -1.0,
            "score": None,
        }
        for place, text in enumerate(texts)
    ]
    (folder / "generations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = {"texts": len(texts), **scores, **(costs or {})}
    plain = {name: None if math.isnan(value) else value for name, value in summary.items()}
    (folder / "summary.json").write_text(json.dumps(plain))


def costs(gflops: float, overhead: float = 0.1) -> dict[str, float]:
    return {
        "flops_per_token": gflops * 1e9,
        "flops_overhead": overhead,
        "decode_seconds_per_token": gflops * 0.01,
        "latency_overhead": overhead,
        "expert_prefill_flops": 1e12,
        "expert_decode_flops": 2e12,
        "amateur_flops": overhead * 3e12,
        "weights_bytes": 2.0**28,
        "kv_live_bytes": 2.0**21,
        "memory_bytes": 2.0**30,
        "working_bytes": 2.0**22,
    }


def comparison(arm: str, metric: str = "diversity", difference: float = 0.2, p_holm: float = 0.01) -> dict[str, Any]:
    found = score(difference)
    names = {"metric": metric, "arm": arm, "against": "expert alone, beam 5"}
    return {**names, "difference": found, "p": p_holm, "p_holm": p_holm, "detectable": 0.07}


def write_study(study: Path, layers: Sequence[int] = (4, 8), texts: Sequence[str] = ("one two three",) * 3) -> Path:
    """Early exits at some layers, each better and dearer than the one before, their control and the human texts."""
    rows = []
    for number, layer in enumerate(layers):
        row = {"label": f"early_exit k={layer} α=0.1 β=1 T=1, beam 5", "role": "arm", "folder": f"exit-{layer}"}
        scores = {"diversity": 0.5 + 0.1 * number / len(layers), "coherence": 0.4, "mauve": 0.8}
        write_arm(study, row, texts, scores, setting(layer=layer), costs(1.0 + number / len(layers)))
        rows.append(row)
    control = {"label": "expert alone, beam 5", "role": "control", "folder": "alone"}
    write_arm(
        study, control, texts, {"diversity": 0.3, "coherence": 0.5, "mauve": 0.9}, setting("none", None), costs(0.9, 0)
    )
    write_arm(study, HUMAN, texts, {"diversity": 0.9, "coherence": 0.6})
    shown = {"rows": [*rows, control, HUMAN], "notes": ["made by hand"]}
    (study / "shown.json").write_text(json.dumps(shown))
    compared = [comparison(row["label"], difference=0.1 + number / 10) for number, row in enumerate(rows)]
    (study / "comparisons.json").write_text(json.dumps(compared))
    return study
