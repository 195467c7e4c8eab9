"""The arms that lm-evaluation-harness asks: settings of a study, opened with their models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from cdeval.config.amateur import kind_of
from cdeval.config.labels import label_of
from cdeval.config.schema import ExecutionConfig, ExpertConfig, RunConfig
from cdeval.config.setting import Setting, setting_of
from cdeval.cost.capacity import lanes_at_once, own_slot_bytes
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.forced import scoring_setting
from cdeval.errors import ConfigError, together
from cdeval.lens.temperature import with_temperature
from cdeval.models.anatomy import check_length
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import one_prompt
from cdeval.study.models import StudyModels, load_together, open_models


class LikelihoodBy(Enum):
    """The distribution by which likelihoods are read.

    contrast: the arm's own, redistributed as by O'Brien & Lewis (2023) and in auto-contrastive decoding. expert: the
    expert's, so that arms differ in what they generate alone.
    """

    contrast = "contrast"
    expert = "expert"


@dataclass(frozen=True, slots=True)
class HarnessArm:
    """A setting with its models."""

    label: str
    setting: Setting  # that generates
    scoring: Setting  # that reads likelihoods
    models: StudyModels
    execution: ExecutionConfig

    @property
    def longest(self) -> int:
        """Tokens of prompt and continuation that all models of the arm can read."""
        second = self._second
        models = [self.models.expert, *([second] if second is not None else [])]
        limits = [getattr(model.model.config, "max_position_embeddings", None) for model in models]
        return min([limit for limit in limits if isinstance(limit, int)], default=_UNBOUNDED)

    def max_lanes(self, setting: Setting, tokens: int) -> int:
        """Count the texts of so many tokens that share a forward pass."""
        rows = kind_of(setting.amateur).head_rows(setting.amateur)
        own = own_slot_bytes(self.models.amateur_models.get(setting.amateur))
        return lanes_at_once(self.execution, self.models.expert, setting.beams, tokens, rows, own)

    def check(self, prompt: int, new: int) -> None:
        """Check that the models can read a text. Raises: ModelError: it is too long."""
        check_length(self.models.expert.model.config, prompt, new, self.models.expert.name)

    def flops(self, setting: Setting, prompt: int, new: int, exit_layers: Sequence[int] = ()) -> float:
        """Count the FLOPs of one text, its prompt included."""
        second = self._second
        own = OwnPrompt.from_amateur(setting.amateur, self.models.expert.tokenizer)
        read = len(own.read(tuple([0] * prompt), None)) if second is not None else None
        found = lane_flops(
            token_flops(self.models.expert),
            setting,
            prompt,
            max(1, new),
            None if second is None else token_flops(second),
            exit_layers,
            own_prompt=read,
        )
        return float(found.expert_prefill + found.expert_decode + found.amateur)

    @property
    def _second(self) -> LanguageModel | None:
        found = self.models.amateur_models.get(self.setting.amateur)
        return found if isinstance(found, LanguageModel) else None


_UNBOUNDED = 1 << 20


def open_arms(
    configs: Sequence[RunConfig], by: LikelihoodBy, say: Callable[[str], None] = lambda _line: None
) -> list[HarnessArm]:
    """Open arms that share an expert, whose weights are read once.

    Args: configs: checked settings. by: how likelihoods are read. say: takes one line of progress at a time.

    Raises: ConfigError: arms have different experts, or an answer would be several texts. CdevalError: a model cannot
        be opened, or does not fit.
    """
    for config in configs:
        if config.expert != configs[0].expert:
            raise ConfigError(
                f"arms: they are asked by one expert, and {_named(config.expert)} is not {_named(configs[0].expert)}: "
                "give expert= once, outside arms."
            )
        if config.search.samples != 1:
            raise ConfigError(f"search.samples={config.search.samples}: a task takes one answer. Leave it out.")
    opened = [open_models(configs[0])]
    opened += [open_models(config, opened[0].expert) for config in configs[1:]]
    prompts = one_prompt("a", opened[0].expert.tokenizer)  # the tasks' own are read later
    for one in opened:
        one.check(prompts)
    models, failures = load_together(opened, prompts, say)
    if failures:
        raise together(list(failures.values()))
    arms = []
    for one in opened:
        config, _ = with_temperature(one.config, models.expert, models.amateur_models, [], say)
        setting = setting_of(config)
        scoring = scoring_setting(setting, contrast=by is LikelihoodBy.contrast)
        arms.append(HarnessArm(label_of(setting), setting, scoring, models, config.execution))
    labels = [arm.label for arm in arms]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ConfigError(f"arms: two of them are the same setting, {twice}: leave one out.")
    return arms


def _named(expert: ExpertConfig) -> str:
    return f"expert.name={expert.name} expert.dtype={expert.dtype.name}"
