"""The arguments of `cdeval.api.score`, checked and scored: generations of `decode`, or plain texts of anybody."""

import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cdeval.config.enums import DiversityProtocol
from cdeval.config.metrics import IN_TOKENS, LANGUAGE_MODELS, needs_of
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.errors import ConfigError
from cdeval.metrics.judges.likelihood import with_known_logprobs
from cdeval.metrics.judges.opening import open_judges
from cdeval.metrics.registry import chosen_metrics
from cdeval.metrics.suite import Scored, score_study
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import special_names
from cdeval.prompts.tokens import TextCodec, with_tokens
from cdeval.records import Generation, Prompt
from cdeval.score.marks import without_marks
from cdeval.score.prompts import check_same_prompts
from cdeval.score.read import human_texts
from cdeval.study.arguments import choice, kind_name, language_model_of, list_of_names, texts_or_prompts, whole_number

_CALLER = 4  # frames from a warning here to the line that called `cdeval.api.score`


def score_call(  # noqa: PLR0913 - named arguments of the same names as those of `api.score`
    given: object,
    scorer: LanguageModel | None,
    *,
    prompts: object,
    references: object,
    metrics: object,
    against: object,
    diversity: object,
    seed: object,
) -> Scored:
    """Check the arguments of `api.score`, score the texts and compare the arms. Raises: as `api.score`."""
    arms = arms_of(given, prompts, references)
    if scorer is not None:
        language_model_of("scorer", scorer)
    if against is not None and (not isinstance(against, str) or against not in arms):
        raise ConfigError(f"against={against}: there is no such arm; expected one of {', '.join(arms)}.")
    config = MetricsConfig(only=metrics_of(list_of_names("metrics", metrics), scorer), cache=False)
    protocol = ProtocolConfig(diversity=choice("diversity", diversity, DiversityProtocol))
    seed = whole_number("seed", seed, 0)
    needs = needs_of(chosen_metrics(config))
    control = against if against is not None else list(arms)[-1]
    check_same_prompts(arms)
    arms = {label: unmarked(label, texts, scorer) for label, texts in arms.items()}
    human = references_of(arms, scorer)
    # Nothing says which settings made the texts, so that a text may have ended by itself: the scorer reads them.
    plain = {label: with_known_logprobs(texts, None) for label, texts in arms.items()}
    rows = {label: texts if scorer is None else in_tokens_of(scorer, texts) for label, texts in plain.items()}
    wrote = rows == plain
    rows |= {"human": human} if human else {}
    pairs = {label: control for label in arms if label != control}
    with tempfile.TemporaryDirectory() as folder:
        judges = open_judges(needs, config, scorer, Path(folder), wrote=wrote or None)
        scored = score_study(rows, human or None, judges, config, seed, protocol, against=pairs)
    for failure in scored.failures:
        warnings.warn(str(failure), stacklevel=_CALLER - 1)
    return scored


def arms_of(given: object, prompts: object, references: object) -> dict[str, Sequence[Generation]]:
    """Make generations of the texts of each arm; what is a generation stays as it is.

    Args:
        given: generations or texts by label.
        prompts: one a text, for arms of texts; None: the empty one.
        references: the human continuation of each prompt, or None.

    Raises: ConfigError: no mapping, no texts, something that is neither, or other numbers of prompts than of texts.
    """
    if not isinstance(given, Mapping) or not given or any(not _is_list(texts) for texts in given.values()):
        raise ConfigError("score needs arms with at least one text each, as {'my arm': decode(...)}.")
    wrong = next((label for label in given if not isinstance(label, str) or not label), None)
    if wrong is not None:
        raise ConfigError(f"score names arms by texts, as {{'my arm': decode(...)}}; got the label {wrong!r}.")
    beginnings = None if prompts is None else texts_or_prompts(prompts)
    endings = None if references is None else texts_of("references", references)
    found: dict[str, Sequence[Generation]] = {
        label: _generations(label, list(texts), beginnings, endings) for label, texts in given.items()
    }
    unread = [name for name, value in (("prompts", prompts), ("references", references)) if value is not None]
    if unread and not any(isinstance(text, str) for texts in given.values() for text in texts):
        raise ConfigError(f"{unread[0]}: the texts of decode have their own; leave it out.")
    return found


def texts_of(name: str, given: object) -> list[str]:
    """Check a list of texts. Raises: ConfigError: one text by itself, or something else than texts."""
    found = list(given) if _is_list(given) and isinstance(given, Iterable) else None
    if found is None or not all(isinstance(text, str) for text in found):
        raise ConfigError(f"{name}: expected a list of texts, as {name}=['a text']; got {kind_name(given)}.")
    return found


def _is_list(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)


def _generations(
    label: str, texts: list[object], prompts: Sequence[str | Prompt] | None, references: Sequence[str] | None
) -> list[Generation]:
    if not texts:
        raise ConfigError(f"arm {label!r}: expected at least one text, as decode returns them.")
    kinds = {Generation if isinstance(text, Generation) else str if isinstance(text, str) else None for text in texts}
    if kinds == {Generation}:
        return [text for text in texts if isinstance(text, Generation)]
    if kinds != {str}:
        other = next((text for text in texts if not isinstance(text, str | Generation)), None)
        got = "both" if other is None else kind_name(other)
        raise ConfigError(f"arm {label!r}: expected the generations that decode returns, or texts; got {got}.")
    for name, given in (("prompts", prompts), ("references", references)):
        if given is not None and len(given) != len(texts):
            raise ConfigError(f"arm {label!r} has {len(texts)} texts and {name} has {len(given)}: expected one a text.")
    return [
        _generation(
            place,
            str(text),
            "" if prompts is None else prompts[place],
            None if references is None else references[place],
        )
        for place, text in enumerate(texts)
    ]


def _generation(place: int, text: str, prompt: str | Prompt, reference: str | None) -> Generation:
    """Make a record of a text; prompts have the ids that `decode` gives them, so that both kinds of arms are paired."""
    if isinstance(prompt, Prompt):
        own = prompt.reference if reference is None else reference
        return Generation(prompt.id, prompt.text, (), own, text, (), None, None)
    return Generation(f"prompt-{place}", prompt, (), reference, text, (), None, None)


def metrics_of(names: Sequence[str], scorer: LanguageModel | None) -> list[str]:
    """Choose the metrics to compute; without a scorer those that need none, if none is named.

    Raises: ConfigError: a named one needs a scorer.
    """
    if scorer is not None:
        return list(names)
    chosen = chosen_metrics(MetricsConfig(only=list(names)))
    unread = [metric.name for metric in chosen if metric.needs & LANGUAGE_MODELS]
    if names and unread:
        raise ConfigError(f"metrics: {unread[0]} is read by a language model; give one, as score(arms, expert).")
    return list(names) or [metric.name for metric in chosen if not metric.needs & IN_TOKENS]


def in_tokens_of(scorer: LanguageModel, texts: Sequence[Generation]) -> list[Generation]:
    """Give texts the scorer's tokens: their own where these decode to the text, but for spaces at the seams."""
    tokenizer, codec = scorer.tokenizer, TextCodec(scorer.tokenizer)
    decoded = [codec.continuation_text(text.token_ids, text.prompt_token_ids) for text in texts]
    own = [
        bool(text.prompt_token_ids) and "".join(read.split()) == "".join(text.continuation.split())
        for read, text in zip(decoded, texts, strict=True)
    ]
    return [
        text if is_own else other for text, is_own, other in zip(texts, own, with_tokens(texts, tokenizer), strict=True)
    ]


def unmarked(label: str, texts: Sequence[Generation], scorer: LanguageModel | None) -> list[Generation]:
    """Take special tokens from the ends of an arm's texts that have no token ids, with a warning.

    Raises: TextsError: a special token stands inside a text.
    """
    foreign = [text for text in texts if not text.token_ids]
    names = special_names(scorer.tokenizer) if scorer is not None else set()
    found = without_marks(foreign, label, names)
    for note in found.notes():
        warnings.warn(f"{label}: {note}", stacklevel=_CALLER)
    rest = iter(found.texts)
    return [text if text.token_ids else next(rest) for text in texts]


def references_of(arms: Mapping[str, Sequence[Generation]], scorer: LanguageModel | None) -> list[Generation]:
    """Make texts of the references of all arms, with the scorer's tokens where there is a scorer."""
    found = list(human_texts([text for texts in arms.values() for text in texts]))
    return found if scorer is None else with_tokens(found, scorer.tokenizer)
