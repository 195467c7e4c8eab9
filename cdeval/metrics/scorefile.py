"""The scores of one arm, kept in its run folder: `scores.npz`.

It holds, for every metric, the number with its interval, the row that each text brings to it, and digests of all that
the number depends on. So the same command, run again, reuses what still holds instead of computing it again; and any
two arms of a study can be compared later, by another process and without a model.

The file is one zip archive of plain arrays, which numpy reads without pickle. One that cannot be read counts as absent:
then the scores are computed again.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cdeval import __version__
from cdeval.metrics.codebook import Codes
from cdeval.metrics.compare import ArmRows, Settings
from cdeval.records import Estimate, Generation
from cdeval.store.private import masked_all
from cdeval.store.strict_json import estimate_from_json, plain

SCORES = "scores.npz"
STALE = "of other texts than those that are stored now: score them again"
_FORMAT = 1
_HEADER = "header"


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one arm."""

    estimate: Estimate
    texts: str  # `texts_digest` of what was scored
    made_of: str  # digest of all that the estimate depends on; empty: that is not known, and it is not reused
    basis: Mapping[str, str]  # what another arm's score must share to be compared: judge, protocol, codebook
    rows: ArmRows | None = None  # None: the metric does not score text by text, or no text was scored
    facts: Mapping[str, Any] = field(default_factory=dict)  # of a plug-in's metric: what readers without it must know


@dataclass(frozen=True, slots=True)
class ArmScores:
    """All metrics of one arm."""

    scores: Mapping[str, Score] = field(default_factory=dict)
    codes: Codes | None = None  # clusters of the texts, for MAUVE and its relatives
    curve: Sequence[tuple[float, float]] = ()  # MAUVE's divergence curve

    def marked(self, content: str) -> dict[str, Estimate]:
        """The estimates by metric, with a note where they are of other texts than those that are stored now.

        Args: content: `texts_digest` of the texts now.
        """
        return {
            name: one.estimate
            if one.texts == content
            else replace(one.estimate, note=f"{STALE}; {one.estimate.note}".removesuffix("; "))
            for name, one in self.scores.items()
        }

    def page(self, scores: Mapping[str, Estimate]) -> dict[str, object]:
        """Make the content of `metrics.json` for an arm with these scores: a plug-in's metric is described there."""
        known = {name: {"metric": one.facts} for name, one in self.scores.items() if one.facts}
        return {name: {**cast("dict[str, object]", plain(one)), **known.get(name, {})} for name, one in scores.items()}

    def current(self, content: str) -> "ArmScores":
        """Leave out the scores of other texts than those that are stored now. Args: content: as of `marked`."""
        return replace(self, scores={name: one for name, one in self.scores.items() if one.texts == content})


def of_estimates(estimates: Mapping[str, Estimate], content: str) -> ArmScores:
    """Estimates alone, as an older cdeval left them: they are shown, and computed again where they are asked for.

    Args: estimates: by metric. content: `texts_digest` of the texts.
    """
    return ArmScores({name: Score(one, content, "", {"made by": "an older cdeval"}) for name, one in estimates.items()})


def texts_digest(texts: Sequence[Generation]) -> str:
    """Digest of an arm's texts in any order: it changes whenever a text is added, lost or another one."""
    lines = sorted(
        json.dumps([one.id, one.sample, one.prompt, one.continuation, one.token_ids], ensure_ascii=True)
        for one in texts
    )
    return digest_of(lines)


def exact_digest(texts: Sequence[Generation]) -> str:
    """Digest of all that scoring reads of an arm, in the order in which it is read."""
    return digest_of(
        [
            [
                *(one.id, one.sample, one.prompt, one.prompt_token_ids, one.continuation, one.token_ids),
                *(one.logprob_expert, bool(one.exit_layers)),
            ]
            for one in texts
        ]
    )


def recipe_digest(metric: str, exact: str, basis: Mapping[str, str], settings: Settings) -> str:
    """Digest of everything that one metric of one arm depends on; empty where a part of the basis is not known."""
    if not all(basis.values()):
        return ""
    return digest_of([_FORMAT, __version__, metric, exact, dict(basis), list(settings)])


def digest_of(value: object) -> str:
    """SHA-256 of a value in JSON's types [64 hexadecimal digits]."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def to_bytes(found: ArmScores) -> bytes:
    """The file's content; equal scores give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    prompts: list[Sequence[str]] = []
    header: dict[str, Any] = {"format": _FORMAT, "metrics": {}, "prompts": prompts, "curve": list(found.curve)}
    for name, score in found.scores.items():
        own = header["metrics"][name] = {
            "estimate": masked_all(plain(score.estimate)),  # its note may name a model by its folder
            "texts": score.texts,
            "made_of": score.made_of,
            "basis": score.basis,
            **({"facts": score.facts} if score.facts else {}),
        }
        if score.rows is not None:
            own["rows"], own["prompts"] = _place(arrays, score.rows.values), _known(prompts, score.rows.ids)
    if found.codes is not None:
        codes = found.codes
        header["codes"] = {
            "clusters": codes.clusters,
            "prompts": _known(prompts, codes.ids),
            "human": _place(arrays, codes.human),
            "generated": _place(arrays, codes.generated),
        }
    text = json.dumps(plain(header), ensure_ascii=True, allow_nan=False).encode()
    buffer = io.BytesIO()
    columns: dict[str, Any] = {_HEADER: np.frombuffer(text, dtype=np.uint8), **arrays}
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()


def read_scores(folder: Path) -> ArmScores:
    """Read the scores that a run folder holds; none where there is no such file, or one that cannot be read."""
    try:
        with np.load(folder / SCORES, allow_pickle=False) as file:
            return _from_arrays({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, zipfile.BadZipFile):
        return ArmScores()
    except (zipfile.LargeZipFile, NotImplementedError, RuntimeError, RecursionError, MemoryError):  # a hostile archive
        return ArmScores()


def _from_arrays(arrays: Mapping[str, NDArray[Any]]) -> ArmScores:
    header = json.loads(arrays[_HEADER].tobytes())
    if header["format"] != _FORMAT:
        return ArmScores()
    prompts = [tuple(map(str, ids)) for ids in header["prompts"]]
    scores = {
        str(name): Score(
            estimate_from_json(own["estimate"]),
            str(own["texts"]),
            str(own["made_of"]),
            {str(key): str(value) for key, value in own["basis"].items()},
            ArmRows(prompts[own["prompts"]], arrays[own["rows"]]) if "rows" in own else None,
            dict(own.get("facts", {})),
        )
        for name, own in header["metrics"].items()
    }
    codes = header.get("codes")
    return ArmScores(
        scores,
        None
        if codes is None
        else Codes(
            prompts[codes["prompts"]],
            human=arrays[codes["human"]],
            generated=arrays[codes["generated"]],
            clusters=int(codes["clusters"]),
        ),
        [(float(x), float(y)) for x, y in header["curve"]],
    )


def _place(arrays: dict[str, NDArray[Any]], values: NDArray[Any]) -> str:
    """The name under which an array is stored; metrics that read the same rows share them."""
    for name, known in arrays.items():
        if known is values or (known.dtype == values.dtype and np.array_equal(known, values, equal_nan=_floats(known))):
            return name
    name = f"array_{len(arrays)}"
    arrays[name] = values
    return name


def _floats(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "f"


def _known(prompts: list[Sequence[str]], ids: Sequence[str]) -> int:
    """The place of a list of prompts, of which most metrics have the same."""
    found = tuple(ids)
    if found not in prompts:
        prompts.append(found)
    return prompts.index(found)
