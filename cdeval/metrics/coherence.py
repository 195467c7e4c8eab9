"""Coherence: does the continuation stay with what the prompt is about?

    coherence = mean over texts of cos( e(prompt), e(continuation) )        in [−1, 1], higher is closer

with e a sentence embedding. Li et al. (2022) use SimCSE and 128 word pieces; values of other embedders or truncations
do not compare, so the note of every score names both. Repeating the prompt scores high: read it next to diversity. A
text whose prompt or continuation is blank has no value (NaN).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from cdeval.errors import ModelError
from cdeval.hub import require_hub
from cdeval.models.loading import quiet_transformers
from cdeval.records import Generation

_INSTEAD = "metrics.embedder=embedded:minilm, which needs no hub"

Embed: TypeAlias = Callable[[list[str]], Float[np.ndarray, "text width"]]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Sentences to vectors, and the words that describe the model in a note."""

    embed: Embed
    note: str


def load_embedder(name: str, device: str = "cpu") -> Embedder:
    """Read a sentence-transformers model from a local folder or the hub.

    Only safetensors are read, and code that the model carries is never run.

    Raises: ModelError: no such folder, or not a model that can be read. HubError: the hub cannot be reached.
    """
    if not Path(name).is_dir():
        _check_hub_id(name)
    # Seconds to import, and only this metric needs it.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    try:
        with quiet_transformers():
            model = SentenceTransformer(
                name, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The sentence embedder {name!r} cannot be read: expected a sentence-transformers model with safetensors "
            f"weights, in a local folder or on a hub that can be reached ({_first_line(error)}). "
            f"Use another, or {_INSTEAD}."
        ) from error

    def embed(texts: list[str]) -> Float[np.ndarray, "text width"]:
        return np.asarray(model.encode(texts, convert_to_numpy=True, show_progress_bar=False), dtype=np.float32)

    return Embedder(embed, f"cosine of {Path(name).name}, texts cut at {model.max_seq_length} of its tokens")


def coherence_rows(arms: Sequence[Sequence[Generation]], embed: Embed) -> list[Float[np.ndarray, "text 1"]]:
    """The cosine of prompt and continuation of each text, arm by arm.

    Arms share prompts, and often continuations: each distinct text is embedded once.

    Raises: ValueError: the embedder returns another number of vectors than it got texts.
    """
    texts = dict.fromkeys(
        text
        for generations in arms
        for generation in generations
        for text in (generation.prompt, generation.continuation)
        if text.strip()
    )
    vectors = dict(zip(texts, _unit(embed(list(texts)), len(texts)), strict=True)) if texts else {}

    def cosine(generation: Generation) -> float:
        prompt, continuation = vectors.get(generation.prompt), vectors.get(generation.continuation)
        return math.nan if prompt is None or continuation is None else float(prompt @ continuation)

    return [np.array([cosine(g) for g in generations], dtype=np.float64).reshape(-1, 1) for generations in arms]


def _unit(vectors: Float[np.ndarray, "text width"], expected: int) -> Float[np.ndarray, "text width"]:
    """Vectors of length one; NaN for a vector of zeros."""
    if len(vectors) != expected:
        raise ValueError(f"the embedder returned {len(vectors)} vectors for {expected} texts")
    exact = vectors.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True))


def _check_hub_id(name: str) -> None:
    if Path(name).exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"metrics.embedder={name} is not a folder: give a sentence-transformers model by folder or hub id, "
            f"or {_INSTEAD}."
        )
    # sentence-transformers looks bare names up among its own models.
    repo = name if "/" in name else f"sentence-transformers/{name}"
    require_hub(asked=f"The sentence embedder {name}", instead=_INSTEAD, repo=repo)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
