"""Open a causal language model: configuration and tokenizer first, so that mistakes show early, then the weights.

Weights are safetensors, or pickled ones read as data (`cdeval.models.pickled`). Code that a model carries is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cdeval.assets import embedded as assets
from cdeval.assets.hub import require_hub
from cdeval.config.enums import Weights
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError, one_line
from cdeval.models.anatomy import ANATOMIES, Parts, anatomy_of, check_causal, dissect
from cdeval.models.attention import attention_for
from cdeval.models.checkpoint import check_complete, check_files, fetch_weights, local_folder, weight_files
from cdeval.models.folder import GGUF, find_folder
from cdeval.models.gguf import unpacked
from cdeval.models.hardware import choose_device, choose_dtype
from cdeval.models.identity import fingerprint_of, settings_digest, weights_digest
from cdeval.models.packing import can_pack, pack
from cdeval.models.quiet import quiet_transformers
from cdeval.models.shapes import numbers_tokenizer, shipped, with_random_weights, without_weights
from cdeval.models.vocabulary import Vocabulary, check_rows, end_tokens, vocabulary_of
from cdeval.store.hashing import Remembered

_OFFLINE_CHOICES = "expert=smollm2 (embedded), expert=gemma3 (embedded), or expert.name=/a/local/folder"


@dataclass(frozen=True, slots=True)
class ReadingModel:
    """A loaded model that reads texts, of any causal architecture."""

    name: str  # as the user gave it
    revision: str | None  # the hub commit it resolved to; None for folders
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str  # what it is (`cdeval.models.identity`); empty where there are no weights

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number format; scores are float32."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def dtype_name(self) -> str:
        """The number format of the weights, without torch's name."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens, and the rows that it has for them."""
        return vocabulary_of(self.model, self.tokenizer, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel(ReadingModel):
    """A loaded model whose parts are known, ready to decode and to score."""

    parts: Parts
    own_ends: tuple[int, ...] | None = None  # tokens that end a text, where a caller chose them

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        return end_tokens(self.model, self.tokenizer) if self.own_ends is None else self.own_ends


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model whose configuration and tokenizer are known and whose weights are not read yet."""

    name: str
    path: str  # local folder or hub id
    revision: str | None
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    device: torch.device
    weights: Weights = Weights.stored
    folder: Path | None = None  # where its files lie
    on_paper: bool = False  # loaded without any weights, on the meta device, for whoever counts and multiplies nothing

    def load(self, *, packed: bool = True) -> LanguageModel:
        """Read the weights; `packed` lays them out for the processor where that is known to help.

        Raises: ModelError: there are none, they do not fit the configuration, a pickled file holds more than weights,
            or memory is short.
        """
        if self.on_paper:
            return self._shape()
        if self.weights is Weights.random:
            model, weights = with_random_weights(self.config, self.dtype, self.device, self.name), "random"
        else:
            model, weights = self._stored()
        revision = getattr(self.config, "_commit_hash", None)
        loaded = language_model(model, self.tokenizer, self.name, revision, weights)
        check_rows(loaded.vocabulary)
        if packed and can_pack(model):
            pack(model)
        return loaded

    def load_reader(self, *, packed: bool = False) -> ReadingModel:
        """Load a model that only reads texts, as `load` does; its architecture need not be known."""
        if self.config.model_type in ANATOMIES:
            return self.load(packed=packed)
        model, weights = self._stored()
        fingerprint = fingerprint_of(weights, model.config, self.tokenizer, end_tokens(model, self.tokenizer))
        revision = getattr(self.config, "_commit_hash", None)
        check_rows(vocabulary_of(model, self.tokenizer, self.name))
        return ReadingModel(self.name, revision, model, self.tokenizer, fingerprint)

    def _shape(self) -> LanguageModel:
        model = without_weights(self.config, self.dtype)
        parts = dissect(model, self.name)
        return LanguageModel(self.name, None, model, self.tokenizer, fingerprint="", parts=parts)

    def _stored(self) -> tuple[PreTrainedModel, str]:
        """The model, and the digest of its weights."""
        with _reporting(self.name, OSError):
            fetch_weights(self.path, self.revision)
        files, safetensors = weight_files(self.folder or Path(self.path), self.name)
        facts = ["weights", str(self.dtype), transformers.__version__, settings_digest(self.config)]
        with _reporting(self.name, OSError):
            known = Remembered(files, facts) if files else None
        with _reporting(self.name), quiet_transformers():
            model, report = AutoModelForCausalLM.from_pretrained(
                self.path,
                revision=self.revision,
                config=self.config,
                dtype=self.dtype,
                use_safetensors=safetensors,
                trust_remote_code=False,
                # A model that only reads keeps its own attention where lanes could not be told to it.
                attn_implementation=attention_for(self.config) if self.config.model_type in ANATOMIES else None,
                ignore_mismatched_sizes=True,  # so that the report names them, instead of an error that does not
                output_loading_info=True,
            )
        check_complete(report, self.name)
        with _reporting(self.name, OSError):
            weights = known.digest(lambda: weights_digest(model)) if known else weights_digest(model)
        return model.to(self.device).eval().requires_grad_(requires_grad=False), weights


def language_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    revision: str | None = None,
    weights: str | None = None,
) -> LanguageModel:
    """Wrap a model that is already in memory. Args: weights: their digest, where it is known.

    Raises: ModelError: unknown architecture, or weights that are not in memory.
    """
    parts, ends = dissect(model, name), end_tokens(model, tokenizer)
    weights = weights_digest(model, name) if weights is None else weights
    return LanguageModel(
        name=name,
        revision=revision,
        model=model,
        tokenizer=tokenizer,
        parts=parts,
        fingerprint=fingerprint_of(weights, model.config, tokenizer, ends),
    )


def open_model(config: ExpertConfig, setting: str = "expert.name", *, decodes: bool = True) -> OpenedModel:
    """Find the model, read its configuration and tokenizer, choose device and number format.

    Args: setting: that names the model, for messages. decodes: False: it only reads texts, by `load_reader`, and may be
        of an architecture that is not known.

    Raises: ModelError: no such folder, not a model, unreachable, unknown architecture, no such device. AssetError: the
        embedded model cannot be fetched.
    """
    device = choose_device(config.device)
    known = shipped(config.name) if config.weights is Weights.random else None
    if known is not None:
        anatomy_of(known, config.name)
        dtype = choose_dtype(config.dtype, device)
        return OpenedModel(config.name, "", None, known, numbers_tokenizer(known), dtype, device, config.weights)
    path = _locate(config.name, config.revision, setting)
    revision = config.revision
    if revision is not None and Path(path).is_dir():
        given = f"{setting.replace('.name', '.revision')}={revision}"
        raise ModelError(f"{given} names a commit on the hub, and {config.name} is a folder: leave the revision out.")
    with _reporting(config.name), quiet_transformers():
        model_config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    (anatomy_of if decodes else check_causal)(model_config, config.name)
    with _reporting(config.name, OSError):
        folder = local_folder(path, revision)
    check_files(folder, config.name, model_config)
    with _reporting(config.name), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    return OpenedModel(
        name=config.name,
        path=path,
        revision=revision,
        config=model_config,
        tokenizer=tokenizer,
        dtype=choose_dtype(config.dtype, device),
        device=device,
        weights=config.weights,
        folder=folder,
    )


def _locate(name: str, revision: str | None, setting: str) -> str:
    folder = find_folder(name, setting)
    if folder is not None:
        file = Path(assets.resolve(name))
        if file.suffix == GGUF and file.is_file():
            return str(unpacked(file, name))
        if not (folder / "config.json").is_file():
            check_files(folder, name)  # an adapter's folder has none
        return str(file)
    require_hub(
        asked=f"the model {setting}={name}" + (f" at {revision}" if revision else ""),
        instead=_OFFLINE_CHOICES,
        repo=name,
    )
    return name


@contextmanager
def _reporting(name: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn the exceptions for a wrong name, a broken folder or missing weights into one message.

    Around calls of transformers these are of any kind: it passes on a plain `Exception` of tokenizers for a broken
    tokenizer.json, and whatever a value of a wrong type in config.json leads to. So nothing else stands inside.

    Raises: ModelError: an exception of this kind was raised.
    """
    try:
        yield
    except kind as error:
        reason = one_line(error)
        hint = (
            "Weights are read from model.safetensors, else from pytorch_model.bin, or from shards that an index names. "
            if "safetensors" in reason
            else ""
        )
        raise ModelError(
            f"{name} cannot be opened as a causal language model: {reason}. {hint}Offline: {_OFFLINE_CHOICES}."
        ) from error
