"""The models of a study: the expert, and the models of its amateurs. Cheap checks come first, weights last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cdeval.config.enums import AmateurKind, Context
from cdeval.config.exits import Selection, in_blocks, validate_layers
from cdeval.config.schema import RunConfig
from cdeval.config.setting import Amateur, amateur_of
from cdeval.decode.ngrams import Ngrams
from cdeval.decode.sources import Second
from cdeval.errors import CdevalError, ModelError
from cdeval.models.anatomy import check_depth, check_lengths
from cdeval.models.lens import TunedLens, read_lens
from cdeval.models.loading import LanguageModel, OpenedModel, open_model
from cdeval.models.truncate import truncate
from cdeval.models.vocabulary import Vocabulary, check_prompts, check_same_vocabulary
from cdeval.prompts import PromptSet, load_prompts, other_texts
from cdeval.prompts.tokens import TextCodec


@dataclass(frozen=True, slots=True)
class StudyModels:
    """The loaded models of a study."""

    expert: LanguageModel
    seconds: Mapping[Amateur, Second] = field(default_factory=dict)  # what amateurs are made of, beside the expert

    def identity(self, amateur: Amateur | None = None) -> str:
        """Name the weights that make the texts of an amateur's arm, and their number format."""
        models = [self.expert, self.seconds.get(amateur) if amateur else None]
        return " ".join(
            f"{model.fingerprint} {model.dtype_name}"
            if isinstance(model, LanguageModel)
            # A truncated expert has the expert's fingerprint; counts are fixed by their texts, a lens by its
            # translators.
            else model.digest
            for model in models
            if model is not None
        )


@dataclass(frozen=True, slots=True)
class OpenedModels:
    """Models whose configurations and tokenizers are known and checked, and whose weights are not read yet."""

    config: RunConfig  # its layers are numbers of blocks
    expert: OpenedModel
    second: OpenedModel | None  # an amateur that is a model of its own
    lens: TunedLens | None = None  # of an early exit

    def prompts(self) -> PromptSet:
        """Read the study's prompts; `check` then tells whether they fit the models.

        Raises: PromptError, AssetError, HubError: there are none here.
        """
        config = self.config
        return load_prompts(config.prompts, self.expert.tokenizer, config.search.max_new_tokens, config.seed)

    def check(self, prompts: PromptSet) -> None:
        """Check that both models can read the prompts. Raises: ModelError: they are too long, or have other tokens."""
        lengths = {len(prompt.token_ids) for prompt in prompts.prompts}
        own = {1} if self.config.amateur.context is Context.generated else lengths  # what an amateur reads of a prompt
        read = [(self.expert, lengths), (self.second or self.expert, own)]
        for opened, of_prompts in read:
            check_prompts(Vocabulary(opened.name, opened.tokenizer, opened.config.vocab_size), prompts.prompts)
            check_lengths(opened.config, of_prompts, self.config.search.max_new_tokens, opened.name)

    def load(self, prompts: PromptSet) -> StudyModels:
        """Read the weights and count the n-grams.

        Raises: ModelError: weights cannot be read, or the lens is another expert's. PromptError: no texts are left to
            count.
        """
        models, failures = load_together([self], prompts)
        for error in failures.values():
            raise error
        return models

    def second_of(self, expert: LanguageModel, prompts: PromptSet) -> Second | None:
        """Load what the amateur needs beside the expert's own layers, if it needs anything.

        Raises: as `load`.
        """
        amateur = amateur_of(self.config.amateur)
        if amateur.kind is AmateurKind.truncated and amateur.layer is not None:
            return truncate(expert, amateur.layer)
        if self.lens is not None:
            return self.lens.on(expert)
        if self.second is not None:
            return self.second.load()
        if amateur.kind is AmateurKind.ngram:
            return self._ngrams(prompts, amateur.order or 1)
        return None

    def _ngrams(self, prompts: PromptSet, order: int) -> Ngrams:
        texts = other_texts(self.config.prompts, [prompt.id for prompt in prompts.prompts])
        codec = TextCodec(self.expert.tokenizer)
        return Ngrams([codec.continuation_ids(text) for text in texts], order, self.expert.config.vocab_size)


def load_together(opened: Sequence[OpenedModels], prompts: PromptSet) -> tuple[StudyModels, dict[int, CdevalError]]:
    """Load the models of settings that share an expert; amateurs that differ only in what they read are loaded once.

    Returns: the models; by their places, why settings cannot be decoded, as `OpenedModels.load` says.

    Raises: ModelError: the expert's weights cannot be read.
    """
    expert = opened[0].expert.load()
    loaded: dict[Amateur, Second | CdevalError | None] = {}
    seconds: dict[Amateur, Second] = {}
    failures: dict[int, CdevalError] = {}
    for place, one in enumerate(opened):
        amateur = amateur_of(one.config.amateur)
        weights = replace(amateur, context=Context.full)
        if weights not in loaded:
            try:
                loaded[weights] = one.second_of(expert, prompts)
            except CdevalError as error:
                loaded[weights] = error
        second = loaded[weights]
        if isinstance(second, CdevalError):
            failures[place] = second
        elif second is not None:
            seconds[amateur] = second
    return StudyModels(expert, seconds), failures


def open_models(config: RunConfig, expert: OpenedModel | None = None) -> OpenedModels:
    """Find the expert (unless it is at hand) and the amateur, and check that they fit each other.

    Raises: ModelError: a model or lens cannot be opened, an exit layer lies outside the expert, or the vocabularies
        differ.
    """
    opened = expert or open_model(config.expert)
    config = _in_blocks(config, opened)
    amateur = amateur_of(config.amateur)
    for layer in amateur.exits:
        check_depth(opened.config, layer, opened.name)
    config = _with_own_exits(config, opened)
    lens = second = None
    if amateur.lens_file is not None:
        lens = read_lens(Path(amateur.lens_file).expanduser(), amateur.exits, opened.config.hidden_size)
    if amateur.name is not None:
        second = open_model(replace(config.expert, name=amateur.name, revision=amateur.revision), "amateur.name")
        ours, theirs = (Vocabulary(one.name, one.tokenizer, one.config.vocab_size) for one in (opened, second))
        check_same_vocabulary(ours, theirs)
    return OpenedModels(config, opened, second, lens)


def _in_blocks(config: RunConfig, expert: OpenedModel) -> RunConfig:
    """The configuration with the amateur's layers as numbers of the expert's blocks.

    Raises: ModelError: candidates of a choice fall together.
    """
    amateur = config.amateur
    if amateur.kind not in (AmateurKind.early_exit, AmateurKind.truncated):
        return config
    depth = expert.config.num_hidden_layers
    blocks = in_blocks(validate_layers("amateur.layer", amateur.layer), depth)
    chosen = amateur.kind is AmateurKind.early_exit and amateur.selection is not Selection.fixed
    if chosen and len(blocks) < 2:
        raise ModelError(
            f"amateur.layer={amateur.layer}: in {expert.name}, L={depth}, all of these are layer {blocks[0]}, which "
            f"leaves amateur.selection={amateur.selection.name} no choice. Give layers that lie further apart."
        )
    return replace(config, amateur=replace(amateur, layer=blocks if chosen else blocks[0]))


def _with_own_exits(config: RunConfig, expert: OpenedModel) -> RunConfig:
    """The configuration with the layers after which the expert itself may exit, as a list of blocks.

    Raises: ModelError: one lies outside the expert, or not above the exit layers that are its amateur.
    """
    own, amateur = config.search.adaptive_exit, amateur_of(config.amateur)
    if own.threshold is None:
        return config
    setting, depth = "search.adaptive_exit.layers", expert.config.num_hidden_layers
    lowest = 1 + max(amateur.exits if amateur.kind is AmateurKind.early_exit else (0,))
    blocks = in_blocks(validate_layers(setting, lowest if own.layers is None else own.layers), depth)
    if own.layers is not None:
        for block in blocks:
            check_depth(expert.config, block, expert.name, setting)
    if not isinstance(own.layers, list):
        blocks = list(range(blocks[0], depth))
    if not blocks or blocks[0] < lowest:
        given = "null" if own.layers is None else own.layers
        remedy = f"layers from {lowest} to {depth - 1}, or " if lowest < depth else ""
        raise ModelError(
            f"{setting}={given} with amateur.layer={config.amateur.layer}: the amateur is read after block "
            f"{lowest - 1} of every token, so the expert may exit only above it; {expert.name} has L={depth} blocks. "
            f"Give {remedy}a lower amateur.layer."
        )
    return replace(config, search=replace(config.search, adaptive_exit=replace(own, layers=blocks)))
