"""A second model with the expert's vocabulary, as in Li et al. (2022)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind
from cdeval.config.enums import Context
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.kind import Source
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.lanes import Lane
from cdeval.decode.reader import Reader
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel, OpenedModel, open_model
from cdeval.models.vocabulary import Vocabulary, check_same_vocabulary
from cdeval.prompts.load import PromptSet


class OwnPassKind(AmateurKind):
    """A kind whose amateur is a model that reads along: another one, or a variant of the expert."""

    def source(self, amateur: Amateur, loaded: LanguageModel, expert: LanguageModel, lanes: Sequence[Lane]) -> Source:
        """Read along with a cache of its own."""
        return ModelSource(loaded, OwnPrompt.from_amateur(amateur, expert.tokenizer), expert, lanes)


class SecondModel(OwnPassKind):
    """A model by hub id or folder."""

    name = "model"
    reads = frozenset({"context", "name", "revision"})

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check that there is another model. Raises: ConfigError: none is named, or the expert itself."""
        if config.name is None:
            raise ConfigError("amateur=model needs amateur.name: a hub id such as gpt2, or a local model folder.")
        if (config.name, config.revision) == (expert.name, expert.revision):
            raise ConfigError(
                f"amateur.name={config.name} is the expert itself: give another model, or an earlier checkpoint of it "
                "by amateur.revision=<commit, tag or branch>."
            )

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read which model it is, and its context."""
        return Amateur(
            self.name, name=config.name, revision=config.revision, context=config.context, negative=config.negative
        )

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        return "@".join(filter(None, (Path(amateur.name or "").name, amateur.revision)))

    def open(self, config: RunConfig, expert: OpenedModel) -> OpenedModel:
        """Find the model. Raises: ModelError: there is none, or it has another vocabulary."""
        named = replace(config.expert, name=config.amateur.name or "", revision=config.amateur.revision)
        found = open_model(named, "amateur.name")
        ours, theirs = (Vocabulary(one.name, one.tokenizer, one.config.vocab_size) for one in (expert, found))
        check_same_vocabulary(ours, theirs)
        return found

    def load(self, opened: OpenedModel, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> LanguageModel:
        """Read the weights."""
        return opened.load()


class ModelSource:
    """A model with a cache of its own."""

    def __init__(
        self, model: LanguageModel, own: Context | OwnPrompt, expert: LanguageModel, lanes: Sequence[Lane]
    ) -> None:
        """Take a model with the expert's vocabulary, whose rows of the head may be padded otherwise.

        `own` says what it reads of a prompt; of the contexts by themselves, `full` and `generated` suffice.
        """
        self._reader, self._model = Reader(model, lanes[0].setting.beams), model
        self._own = own if isinstance(own, OwnPrompt) else OwnPrompt(own)
        self._lanes, self._vocab = lanes, expert.parts.head_weight.shape[0]
        self._hidden: Float[Tensor, "lane beam width"] = torch.empty(0, 0, 0)

    @property
    def reader(self) -> Reader:
        """What reads along."""
        return self._reader

    @property
    def model(self) -> LanguageModel:
        """The model that reads along."""
        return self._model

    @property
    def peak_slots(self) -> int:
        """Most key-value slots a lane held at once."""
        return self._reader.cache.peak_slots

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the lanes' prompts, or what stands for them, from position 0 on."""
        read = [self._own.read(prompt, lane.without_context) for prompt, lane in zip(prompts, self._lanes, strict=True)]
        hidden, sources = self._reader.prefill(read)
        self._hidden = hidden[sources, -1:]

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""
        self._hidden = self._reader.read(tokens)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        self._reader.cache.reorder(parent)

    def compact(self) -> None:
        """Drop the slots no living beam descends from."""
        self._reader.cache.compact()

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Float[Tensor, "lane beam vocab"]:
        """Logits of the next tokens. Rows that only pad one of the vocabularies are cut, or improbable."""
        logits = self._model.parts.logits(self._hidden)
        missing = self._vocab - logits.shape[-1]
        if missing <= 0:
            return logits[..., : self._vocab]
        lowest = logits.amin(dim=-1, keepdim=True).expand(*logits.shape[:-1], missing)
        return torch.cat([logits, lowest], dim=-1)


AMATEURS.add(SecondModel())
