"""The models of a study: the expert, and the models of its amateurs. Cheap checks come first, weights last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdeval.config.amateur import AMATEURS, Amateur, amateur_of, kind_of
from cdeval.config.enums import Context, SearchKind, Weights
from cdeval.config.exits import Lens, check_depth, in_blocks, validate_layers
from cdeval.config.labels import name_of
from cdeval.config.schema import RunConfig
from cdeval.config.setting import adaptive_exit_of
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.generate import check_arguments
from cdeval.errors import CdevalError, ModelError
from cdeval.lens.linear import linear_lenses
from cdeval.models.anatomy import check_lengths
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel, OpenedModel, open_model
from cdeval.models.packing import can_pack, pack
from cdeval.models.vocabulary import Vocabulary, check_prompts
from cdeval.prompts.load import PromptSet, load_prompts, require_other_split
from cdeval.store.progress import Steps


@dataclass(frozen=True, slots=True)
class StudyModels:
    """The loaded models of a study."""

    expert: LanguageModel
    amateur_models: Mapping[Amateur, AmateurModel] = field(
        default_factory=dict
    )  # what amateurs are made of, beside the expert

    def identity(self, amateur: Amateur | None = None) -> str:
        """Name the weights that make the texts of an amateur's arm, and their number format."""
        models = [self.expert, self.amateur_models.get(amateur) if amateur else None]
        return " ".join(
            f"{model.fingerprint} {model.dtype_name}"
            if isinstance(model, LanguageModel)
            # A truncated expert has the expert's fingerprint; counts are fixed by their texts, a lens by its
            # translators.
            else model.digest
            for model in models
            if model is not None
        ) + (f" {origin.digest}" if amateur and (origin := kind_of(amateur).origin) else "")

    @property
    def linear_lenses(self) -> dict[Amateur, TunedLens]:
        """The lenses that were fitted while the study opened, in the memory of the host."""
        return {
            amateur: model.on_host()
            for amateur, model in self.amateur_models.items()
            if amateur.lens is Lens.linear and isinstance(model, TunedLens)
        }


@dataclass(frozen=True, slots=True)
class OpenedModels:
    """Models whose configurations and tokenizers are known and checked, and whose weights are not read yet."""

    config: RunConfig  # its layers are numbers of blocks
    expert: OpenedModel
    amateur: object = None  # what its kind found: a model of its own, a lens
    lenses: Mapping[Amateur, TunedLens] = field(default_factory=dict)  # linear ones that are fitted already

    @property
    def linear(self) -> list[Amateur]:
        """The readers of layers through a linear lens: the amateur, and the expert at exits of its own."""
        own = adaptive_exit_of(self.config.search.adaptive_exit)
        readers = [amateur_of(self.config.amateur), own.read_as if own is not None else None]
        return [reader for reader in readers if reader is not None and reader.lens is Lens.linear]

    def prompts(self) -> PromptSet:
        """Read the study's prompts; `check` then tells whether they fit the models.

        Raises: PromptError, AssetError, HubError: there are none here.
        """
        config = self.config
        return load_prompts(config.prompts, self.expert.tokenizer, config.search.max_new_tokens, config.seed)

    def check(self, prompts: PromptSet) -> None:
        """Check that both models can read the prompts.

        Raises: ModelError: they are too long, or have other tokens. PromptError: a context is to go that is not there.
        """
        lengths = {len(prompt.token_ids) for prompt in prompts.prompts}
        own = OwnPrompt.from_amateur(amateur_of(self.config.amateur), self.expert.tokenizer).lengths(prompts.prompts)
        read = [(self.expert, lengths), (self.amateur if isinstance(self.amateur, OpenedModel) else self.expert, own)]
        for opened, of_prompts in read:
            check_prompts(Vocabulary(opened.name, opened.tokenizer, opened.config.vocab_size), prompts.prompts)
            check_lengths(opened.config, of_prompts, self.config.search.max_new_tokens, opened.name)

    def load(self, prompts: PromptSet, say: Callable[[str], None] = lambda _line: None) -> StudyModels:
        """Read the weights, fit the linear lens and count the n-grams.

        Args: say: takes one line of progress at a time.

        Raises: ModelError: weights cannot be read, or the lens is another expert's. PromptError: no texts are left to
            count or to fit the lens to.
        """
        with Steps(say, f"reading the weights of {self.expert.name}"):
            models, failures = load_together([self], prompts, say)
        for error in failures.values():
            raise error
        return models

    def amateur_model(self, expert: LanguageModel, prompts: PromptSet) -> AmateurModel | None:
        """Load what the amateur is made of beside the expert's own layers, if it is made of anything.

        Raises: as `load`.
        """
        found: AmateurModel | None = AMATEURS[self.config.amateur.kind].load(self.amateur, self.config, expert, prompts)
        return found


def load_together(
    opened: Sequence[OpenedModels], prompts: PromptSet, say: Callable[[str], None] = lambda _line: None
) -> tuple[StudyModels, dict[int, CdevalError]]:
    """Load the models of settings that share an expert; amateurs that differ only in what they read are loaded once.

    Returns: the models; by their places, why settings cannot be decoded, as `OpenedModels.load` says.

    Raises: ModelError: the expert's weights cannot be read.
    """
    lacking = list(dict.fromkeys(reader for one in opened for reader in one.linear if reader not in one.lenses))
    plain = bool(lacking) or any(AMATEURS[one.config.amateur.kind].reads_weights for one in opened)
    expert = opened[0].expert.load(packed=not plain)
    used = [prompt.id for prompt in prompts.prompts]
    fitted = linear_lenses(lacking, opened[0].config, expert, used, say)
    loaded: dict[Amateur, AmateurModel | CdevalError | None] = {}
    amateur_models: dict[Amateur, AmateurModel] = {}
    failures: dict[int, CdevalError] = {}
    for place, one in enumerate(opened):
        for reader in one.linear:
            lens = one.lenses.get(reader) or fitted[reader]
            if isinstance(lens, CdevalError):
                failures[place] = lens
            else:
                amateur_models[reader] = lens.on(expert)
        if place in failures:
            continue
        amateur = amateur_of(one.config.amateur)
        weights = replace(amateur, context=Context.full, negative=None)
        if weights not in loaded:
            try:
                loaded[weights] = one.amateur_model(expert, prompts)
            except CdevalError as error:
                loaded[weights] = error
        model = loaded[weights]
        if isinstance(model, CdevalError):
            failures[place] = model
        elif model is not None:
            amateur_models[amateur] = model
    if plain and can_pack(expert.model):
        pack(expert.model)
    return StudyModels(expert, amateur_models), failures


def with_lenses(opened: Iterable[OpenedModels], lenses: Mapping[Amateur, TunedLens]) -> list[OpenedModels]:
    """Give settings the linear lenses that were fitted for them, so that loading them again fits none."""
    return [
        replace(one, lenses={reader: lenses[reader] for reader in one.linear if reader in lenses}) for one in opened
    ]


def open_models(config: RunConfig, expert: OpenedModel | None = None) -> OpenedModels:
    """Find the expert (unless it is at hand) and the amateur, and check that they fit each other.

    Raises: ConfigError: `generate` of transformers has no such argument, or refuses it. ModelError: a model or lens
        cannot be opened, an exit layer lies outside the expert, or the vocabularies differ. PromptError: the prompts
        leave no texts to fit a linear lens to.
    """
    opened = expert or open_model(config.expert)
    kind = AMATEURS[config.amateur.kind]
    amateur = kind.in_blocks(config.amateur, opened.config.num_hidden_layers, opened.name)
    config = replace(config, amateur=amateur)
    found = kind.open(config, opened)
    if config.search.kind is SearchKind.hf:
        check_arguments(config.search)
    ready = OpenedModels(_with_own_exits(config, opened), opened, found)
    if config.expert.weights is Weights.stored:
        for reader in ready.linear:
            require_other_split(config.prompts, reader.lens_texts)
    return ready


def _with_own_exits(config: RunConfig, expert: OpenedModel) -> RunConfig:
    """The configuration with the layers after which the expert itself may exit, as a list of blocks.

    Raises: ModelError: one lies outside the expert, or not above the exit layers that are its amateur.
    """
    own, amateur = config.search.adaptive_exit, amateur_of(config.amateur)
    if own.threshold is None:
        return config
    setting, depth = "search.adaptive_exit.layers", expert.config.num_hidden_layers
    lowest = 1 + max(amateur.exits if kind_of(amateur).reads_expert else (0,))
    blocks = in_blocks(validate_layers(setting, lowest if own.layers is None else own.layers), depth)
    if own.layers is not None:
        for block in blocks:
            check_depth(depth, block, expert.name, setting)
    if not isinstance(own.layers, list):
        blocks = list(range(blocks[0], depth))
    if not blocks or blocks[0] < lowest:
        given = "null" if own.layers is None else own.layers
        remedy = f"layers from {lowest} to {depth - 1}, or " if lowest < depth else ""
        raise ModelError(
            f"{setting}={given}: the amateur is read after block {lowest - 1} of every token ({name_of(amateur)}), so "
            f"the expert may exit only above it; {expert.name} has L={depth} blocks. "
            f"Give {remedy}a lower amateur.layer."
        )
    return replace(config, search=replace(config.search, adaptive_exit=replace(own, layers=blocks)))
