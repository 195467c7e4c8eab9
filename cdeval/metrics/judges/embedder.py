"""Sentence embedders: a sentence-transformers model as it was saved, or a plain encoder with a pooling that is named.

SimCSE's checkpoints on the hub are plain BERT folders, and the embedding of the supervised one is BERT's pooler output
(Gao et al. 2021, "SimCSE", section 6: the MLP over [CLS] is kept). sentence-transformers would average the tokens of
such a folder without a word: another embedding, another coherence. So a plain encoder needs its pooling stated, or
known by its name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from cdeval.assets.hub import require_hub
from cdeval.config.enums import Pooling
from cdeval.errors import ModelError
from cdeval.metrics.features import NO_CACHE, FeatureCache, key
from cdeval.metrics.judges.scorer import equal_batches
from cdeval.models.checkpoint import (
    check_complete,
    check_files,
    check_modules,
    fetch_weights,
    local_folder,
    weight_files,
)
from cdeval.models.identity import settings_digest, tokenizer_digest, weights_digest
from cdeval.models.quiet import quiet_transformers
from cdeval.store.hashing import sha256_of
from cdeval.store.progress import Steps

_INSTEAD = "metrics.embedder=embedded:minilm, which needs no hub"
_POOLER_BY_NAME = ("sup-simcse-",)  # how the names of checkpoints begin whose embedding is the pooler output
_BATCH = 32
_LOADING: dict[str, Any] = {
    "trust_remote_code": False,
    "ignore_mismatched_sizes": True,  # so that the report names them, instead of an error that does not
    "output_loading_info": True,
}

Embed: TypeAlias = Callable[[list[str]], Float[np.ndarray, "text width"]]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Sentences to vectors, and the words that describe the model in a note."""

    embed: Embed
    note: str
    model: str = field(default="", kw_only=True)  # its name and number format, for messages
    encoder: nn.Module | None = field(default=None, kw_only=True)  # reads a batch of texts a call
    fingerprint: str = ""  # of weights, tokenizer, pooling, truncation and number format; empty: never cached

    def vectors(self, texts: Sequence[str], cache: FeatureCache) -> Float[np.ndarray, "text width"]:
        """The embedding of each text, from disk where it is known."""
        keys = [key("embedding", self.fingerprint, text) for text in texts]
        known = cache if self.fingerprint else NO_CACHE
        rows = known.rows(keys, lambda missing: self._embedded([texts[index] for index in missing], cache.say))
        return np.asarray(rows, dtype=np.float64)

    def _embedded(self, texts: list[str], say: Callable[[str], None]) -> Float[np.ndarray, "text width"]:
        with Steps(say, "embedded text", len(texts)) as steps, ExitStack() as hooks:
            if self.encoder is not None:

                def count(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                    batch = named if "input_ids" in named else given[0]
                    steps.advance(len(batch.get("offsets", batch["input_ids"])))  # of static ones, a text's beginning

                hooks.callback(self.encoder.register_forward_pre_hook(count, with_kwargs=True).remove)
            return self.embed(texts)


def load_embedder(
    name: str, device: str = "cpu", *, pooling: Pooling = Pooling.auto, tokens: int | None = None
) -> Embedder:
    """Read a sentence embedder from a local folder or the hub.

    Weights are safetensors, or pickled ones read as data; code that the model carries is never run.

    Args:
        name: folder or hub id.
        device: as torch names it.
        pooling: `auto` takes what the model says itself (a sentence-transformers folder) or what is known of its name.
        tokens: longer texts are cut, special tokens counted; None reads as much as the model does.

    Raises: ModelError: no such folder, not a model that can be read, or a plain encoder whose pooling nobody named.
        HubError: the hub cannot be reached.
    """
    find_embedder(name)
    try:
        with quiet_transformers():
            chosen = _pooling_of(name) if pooling is Pooling.auto else pooling
            if chosen is Pooling.auto:
                return _sentence_transformer(name, device, tokens)
            return _plain_encoder(name, device, chosen, tokens)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # TypeError: a static embedder without tokenizer
        raise ModelError(
            f"The sentence embedder {name!r} cannot be read: expected a sentence-transformers model or an encoder with "
            f"its weights, in a local folder or on a hub that can be reached ({_first_line(error)}). "
            f"Use another, or {_INSTEAD}."
        ) from error


def embedder_identity(name: str, device: str, *, pooling: Pooling, tokens: int | None) -> str:
    """Tells what `load_embedder` would load from any other, without loading it; empty where its files are not here.

    It is the digest of the files, of the device and of the settings: sentence-transformers takes seconds to import.
    """
    folder = Path(name)
    if not folder.is_dir():
        try:
            config = cached_file(
                name if "/" in name else f"sentence-transformers/{name}", "config.json", local_files_only=True
            )
        except (OSError, ValueError):
            return ""
        if config is None:
            return ""
        folder = Path(config).parent
    return " ".join([_files_digest(folder), folder.name, device, pooling.name, f"{tokens}"])


def _files_digest(folder: Path) -> str:
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _pooling_of(name: str) -> Pooling:
    """The pooling of a plain encoder; `auto` for a model that brings its own.

    Raises: ModelError: nobody knows.
    """
    if Path(name).name.lower().startswith(_POOLER_BY_NAME):
        return Pooling.pooler
    # sentence-transformers looks bare names up among its own models, which bring theirs.
    own = "/" not in name or cached_file(name, "modules.json", _raise_exceptions_for_missing_entries=False) is not None
    if own and not (Path(name).is_dir() and not (Path(name) / "modules.json").is_file()):
        return Pooling.auto
    raise ModelError(
        f"metrics.embedder={name} does not say how its token states become one vector (it has no modules.json): set "
        f"metrics.embedder_pooling=pooler (BERT's pooler output, as SimCSE) or mean, or use {_INSTEAD}."
    )


def _sentence_transformer(name: str, device: str, tokens: int | None) -> Embedder:
    # Seconds to import, and only this metric needs it.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    repo = name if "/" in name or Path(name).is_dir() else f"sentence-transformers/{name}"
    folder = local_folder(repo, None, "modules.json")
    fetch_weights(repo, None)
    inner = check_modules(folder, name)
    safetensors = weight_files(folder / next(iter(inner), ""), name).safetensors  # the first module's are the encoder's
    kept = {"use_safetensors": safetensors, "ignore_mismatched_sizes": True}  # sizes are checked below, and named
    model = SentenceTransformer(name, device=device, trust_remote_code=False, model_kwargs=kept)
    encoders = [(getattr(module, "auto_model", None), path) for module, path in zip(model, inner, strict=True)]
    facts = [device, f"{model.prompts}", f"{model.default_prompt_name}"]
    for encoder, path in encoders:
        if isinstance(encoder, PreTrainedModel):
            _check_weights(type(encoder), folder / path, name)
            facts.append(settings_digest(encoder.config))
    # The mean of static vectors has no length that it was trained for, and nowhere to be cut.
    whole = model.max_seq_length == math.inf
    if whole and tokens is not None:
        raise ModelError(
            f"metrics.embedder_tokens={tokens}: {name} averages the tokens of whole texts: leave it out, or use "
            f"{_INSTEAD}."
        )
    if tokens is not None:
        model.max_seq_length = min(tokens, model.max_seq_length or tokens)

    def embed(texts: list[str]) -> Float[np.ndarray, "text width"]:
        return np.asarray(model.encode(texts, convert_to_numpy=True, show_progress_bar=False), dtype=np.float32)

    cut = "whole texts" if whole else f"texts cut at {model.max_seq_length} of its tokens"
    modules = [repr(module) for module in model]  # pooling and normalisation have no weights to tell them apart
    return Embedder(
        embed,
        f"cosine of {Path(name).name}, {cut}",
        _identity(model, model.tokenizer, [*facts, f"{model.max_seq_length}", *modules]),
        model=_named(name, model),
        encoder=model[0],
    )


def _plain_encoder(name: str, device: str, pooling: Pooling, tokens: int | None) -> Embedder:
    folder, setting = local_folder(name), f"metrics.embedder={name}"
    check_files(folder, setting)
    fetch_weights(name, None)
    safetensors = weight_files(folder, setting).safetensors
    model, report = AutoModel.from_pretrained(name, use_safetensors=safetensors, **_LOADING)
    pooled = pooling is Pooling.pooler
    if pooled and (getattr(model, "pooler", None) is None or any("pooler" in key for key in report["missing_keys"])):
        raise ModelError(
            f"metrics.embedder={name} has no weights for pooler outputs, random ones: use a checkpoint that has them, "
            f"metrics.embedder_pooling=mean if it needs no pooler, or {_INSTEAD}."
        )
    _check_report(model, report, name)
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    limit = min(length for length in (tokens, model.config.max_position_embeddings) if length is not None)

    @torch.inference_mode()
    def embed(texts: list[str]) -> Float[np.ndarray, "text width"]:
        ids = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        rows: list[Any] = [None] * len(texts)
        for batch in equal_batches([len(text) for text in ids], lambda _: _BATCH):
            output = model(input_ids=torch.tensor([ids[index] for index in batch], device=device))
            vectors = output.pooler_output if pooling is Pooling.pooler else output.last_hidden_state.mean(dim=1)
            for index, vector in zip(batch, vectors.float().cpu().numpy(), strict=True):
                rows[index] = vector
        return np.stack(rows)

    what = "pooler output" if pooling is Pooling.pooler else "mean of the token states"
    return Embedder(
        embed,
        f"cosine of {Path(name).name} ({what}), texts cut at {limit} of its tokens",
        _identity(model, tokenizer, [settings_digest(model.config), device, f"{limit}", what]),
        model=_named(name, model),
        encoder=model,
    )


def _named(name: str, model: torch.nn.Module) -> str:
    return f"{Path(name).name} in {str(next(model.parameters()).dtype).removeprefix('torch.')}"


def _check_weights(kind: type[PreTrainedModel], folder: Path, name: str) -> None:
    """Read an encoder once more, for the report that sentence-transformers does not pass on.

    Raises: ModelError: weights are missing, left over or of another shape.
    """
    safetensors = weight_files(folder, name).safetensors
    model, report = kind.from_pretrained(str(folder), use_safetensors=safetensors, **_LOADING)
    _check_report(model, report, name)


def _check_report(model: PreTrainedModel, report: Mapping[str, Any], name: str) -> None:
    """An encoder may have been saved inside a larger model, whose head is left over, and lacks a pooler then."""
    own = {child for child, _ in model.named_children()}
    check_complete(report, f"metrics.embedder={name}", spare=("pooler",), own=own)


def _identity(model: nn.Module, tokenizer: PreTrainedTokenizerBase | Tokenizer, facts: Sequence[str]) -> str:
    bare = isinstance(tokenizer, Tokenizer)  # of static vectors
    rules = sha256(tokenizer.to_str().encode()).hexdigest() if bare else tokenizer_digest(tokenizer)
    return " ".join([weights_digest(model), rules, *facts])


def find_embedder(name: str) -> None:
    """Check that there is such a folder, or that the hub can be asked. Raises: ModelError, HubError: neither."""
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file() and not (Path(name) / "modules.json").is_file():
            raise ModelError(f"metrics.embedder={name} is a folder without a model: use another, or {_INSTEAD}.")
        return
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
