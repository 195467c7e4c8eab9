"""The trace of one text: the candidates at every token, their scores, and what the contrast changed."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Compile, SearchKind, TemperatureForm
from cdeval.config.labels import label_of
from cdeval.config.setting import Setting
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.finite import not_finite
from cdeval.decode.lanes import Lane
from cdeval.decode.watch import Seen, Watch
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import KeptBeam, Prompt, Trace, TraceStep, Weighed


def check_traceable(kind: SearchKind) -> None:
    """Check that a search weighs tokens. Raises: ConfigError: it does not."""
    reasons = {
        SearchKind.contrastive_search: "it scores candidates by likeness, not by tokens",
        SearchKind.hf: "transformers makes its texts, and says nothing of the tokens that it weighs",
    }
    if kind in reasons:
        raise ConfigError(f"search={kind.name} cannot be traced: {reasons[kind]}.")


def trace_text(  # noqa: PLR0913 - four with a default
    expert: LanguageModel,
    prompt: Prompt,
    setting: Setting,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    *,
    candidates: int = 8,
    compact_every: int = 8,
    compiling: Compile = Compile.auto,
) -> Trace:
    """Continue one prompt and keep what every step weighed.

    The text is the one that a study stores in float32; in bfloat16 a text may depend on the texts decoded beside it.

    Args:
        expert: the model.
        prompt: what is continued.
        setting: how.
        amateur_models: what the amateur is made of, beside the expert.
        candidates: of the expert's likeliest tokens, how many are kept at each step.
        compact_every: steps between compactions of the cache.
        compiling: as `execution.compile`; a trace reads every step, so `always` is refused.

    Raises: ConfigError: the search is contrastive search, which weighs texts and not tokens. ModelError: numbers of the
        model are NaN or infinite.
    """
    check_traceable(setting.search)
    watch = Watch(candidates)
    lane = Lane.from_prompt(prompt, setting)
    (found,), _ = decode_batch(
        expert, [lane], compact_every, amateur_models=amateur_models, watch=watch, compiling=compiling
    )
    if found.fault is not None:
        raise not_finite(found.fault, expert, prompt.id, setting)
    reading = _Reading(expert, setting)
    path = watch.path()
    before = [0, *path[:-1]]
    steps = tuple(reading.step(*one) for one in zip(watch.steps, path, before, strict=False))
    return Trace(
        label=label_of(setting),
        expert=expert.name,
        prompt=prompt.text,
        continuation=TextCodec(expert.tokenizer).continuation_text(found.token_ids, prompt.token_ids),
        score=found.score,
        logprob_expert=found.logprob_expert,
        steps=steps,
    )


class _Reading:
    """Turns the numbers of a step into its record, with every token's text."""

    def __init__(self, expert: LanguageModel, setting: Setting) -> None:
        self._text = TextCodec(expert.tokenizer).token_text
        self._contrasts = setting.amateur.contrasts
        # The watch sees log softmax(z / inner); the form of the paper's code divides by T afterwards.
        self._outer = 1.0 if setting.temperature_form is TemperatureForm.softmax else 1.0 / setting.temperature

    def step(self, seen: Seen, kept: int, extended: int) -> TraceStep:
        """A step as the beam `kept` came out of it and the beam `extended` went into it."""
        favourites = int(seen.expert_best[extended]), int(seen.score_best[extended])
        columns = (seen.tokens, seen.log_expert, seen.log_amateur, seen.scores)
        rows = zip(*(column[extended].tolist() for column in columns), strict=True)
        return TraceStep(
            chosen=self._weighed(int(seen.token[kept]), *seen.of_token[kept].tolist()),
            expert_favourite=self._text(favourites[0]),
            contrast_favourite=self._text(favourites[1]),
            flipped=favourites[0] != favourites[1],
            plausible=int(seen.plausible[extended]),
            candidates=tuple(self._weighed(int(token), *numbers) for token, *numbers in rows),
            beam=kept,
            beams=tuple(
                KeptBeam(parent, self._text(token), total)
                for parent, token, total in zip(
                    seen.parent.tolist(), seen.token.tolist(), seen.total.tolist(), strict=True
                )
                if total > -torch.inf
            ),
        )

    def _weighed(self, token: int, log_expert: float, log_amateur: float, score: float) -> Weighed:
        return Weighed(
            token=token,
            text=self._text(token),
            log_expert=_finite(log_expert),
            log_amateur=_finite(log_amateur * self._outer) if self._contrasts else None,
            score=_finite(score),
        )


def _finite(value: float) -> float | None:
    return value if abs(value) != torch.inf else None
