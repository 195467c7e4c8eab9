"""Studies written file by file, as `run` and `score` leave them, without a model."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cdeval.metrics.compare import ArmRows
from cdeval.metrics.scorefile import SCORES, ArmScores, Score, texts_digest, to_bytes
from cdeval.records import Estimate
from cdeval.store.folder import RunFolder

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


def write_grid(study: Path) -> Path:
    """36 arms: every pair of 4 layers, 3 plausibility thresholds and 3 weights, their control and the human texts."""
    rows = []
    for number, (layer, alpha, beta) in enumerate(
        itertools.product((12, 18, 24, 29), (0.01, 0.1, 0.3), (0.5, 1.0, 2.0))
    ):
        row = {"label": f"early_exit k={layer} linear lens α={alpha} β={beta:g} T=1, beam 5", "role": "arm"}
        row["folder"] = f"exit-{layer}-{alpha}-{beta}"
        scores = {"diversity": 0.4 + 0.4 * math.sin(0.2 * number) ** 2, "coherence": 0.6 - 0.005 * number, "mauve": 0.8}
        own = setting(layer=layer, alpha=alpha, beta=beta)
        write_arm(study, row, ["one two three"] * 2, scores, own, costs(1.0 + layer / 29, overhead=0.01 * layer))
        rows.append(row)
    return _end(study, rows)


def write_quickstart(study: Path) -> Path:
    """Five arms as `+preset=quickstart` has them: beam search, two exits under it, one drawn, and min-p alone."""
    drawn = {"search": "sample", "beams": 1, "sampling": {"min_p": 0.1}}
    nucleus = {"search": "sample", "beams": 1, "sampling": {"top_p": 0.95}}
    arms = [
        ("early_exit k=24 norm lens α=0.1 β=1 T=1, beam 5", setting(layer=24), (0.91, 0.42), 0.36),
        ("early_exit k=26 linear lens α=0.3 β=1 T=0.5, beam 5", setting(layer=26, alpha=0.3), (0.83, 0.6), 0.38),
        ("expert alone, sample min_p=0.1", setting("none", None, **drawn), (0.88, 0.55), 0.271),
        (
            "early_exit k=26 linear lens α=0.3 β=1 T=0.5, nucleus p=0.95",
            setting(layer=26, **nucleus),
            (0.93, 0.5),
            0.38,
        ),
    ]
    rows = []
    for number, (label, own, (diversity, coherence), gflops) in enumerate(arms):
        row = {"label": label, "role": "arm", "folder": f"arm-{number}"}
        texts = [f"a text of arm {number}, the {place} of them, and of arm {number} once more" for place in range(4)]
        write_arm(study, row, texts, {"diversity": diversity, "coherence": coherence}, own, costs(gflops))
        rows.append(row)
    return _end(study, rows)


def _end(study: Path, rows: list[dict[str, str]]) -> Path:
    control = {"label": "expert alone, beam 5", "role": "control", "folder": "alone"}
    scores = {"diversity": 0.3, "coherence": 0.55, "mauve": 0.7}
    write_arm(study, control, ["one one one"] * 2, scores, setting("none", None), costs(0.27, 0))
    write_arm(study, HUMAN, ["three two one"] * 2, {"diversity": 0.9, "coherence": 0.6})
    (study / "shown.json").write_text(json.dumps({"rows": [*rows, control, HUMAN], "notes": []}))
    compared = [comparison(row["label"], difference=0.1 + 0.01 * number) for number, row in enumerate(rows)]
    (study / "comparisons.json").write_text(json.dumps(compared))
    return study


def write_text_scores(folder: Path, metric: str, values: Sequence[float]) -> None:
    """Keep a score for each text of a run folder, in the order of its file."""
    texts = list(RunFolder(folder).generations().values())
    rows = ArmRows(tuple(text.id for text in texts), np.array([[value, 1.0] for value in values]))
    estimate = Estimate(float(np.mean(values)), math.nan, math.nan, len(values), 0)
    found = Score(estimate, texts_digest(texts), "", {"made by": "a test"}, rows)
    (folder / SCORES).write_bytes(to_bytes(ArmScores({metric: found})))
