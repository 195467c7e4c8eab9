"""Tuned lenses by one method or several: texts in, translators with the facts of their making out."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from cdeval.config.fields import shown
from cdeval.lens.config import FitConfig, FitMethod, LensRun, Start
from cdeval.lens.fit import fit
from cdeval.lens.least_squares import least_squares
from cdeval.lens.reading import windows
from cdeval.models.lens import Translator, TunedLens, tuned_lens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.items import Text
from cdeval.store.provenance import provenance

_OF_LEAST_SQUARES = ("ridge", "weighting")
_OF_GRADIENT = ("start", "steps", "windows", "positions", "learning_rate", "warm_up")


class _Fitted(NamedTuple):
    translators: dict[int, Translator]
    seconds: float


def train(
    config: LensRun, expert: LanguageModel, layers: Sequence[int], texts: Sequence[Text], say: Callable[[str], None]
) -> Iterator[TunedLens]:
    """A lens by each method of `config.fit.methods`, in their order, as soon as it is trained.

    Args:
        config: checked.
        expert: in the plain layout, through which gradients pass.
        layers: numbers of blocks.
        texts: to learn from.
        say: takes one line of progress at a time.

    Raises: PromptError: too few texts. ModelError: an activation or a divergence is no number.
    """
    read = windows([text.text for text in texts], expert.tokenizer, config.fit.window_tokens)
    say(
        f"training {len(layers)} translators on {read.numel()} tokens of {len(texts)} texts of the split "
        f"{config.prompts.split.value}"
    )
    solved = _solved(config.fit, expert, layers, read, say) if config.fit.solves else None
    for method in config.fit.methods:
        fitted = solved
        if method is FitMethod.gradient:
            fitted = _descended(config, expert, layers, read, say, solved)
        assert fitted is not None  # noqa: S101 - a type narrowing: least squares among the methods were solved
        say(f"{method.value}: fitted in {fitted.seconds:.1f} s")
        yield tuned_lens(fitted.translators, _facts(config, method, expert, texts, read.numel(), fitted.seconds))


def _solved(
    config: FitConfig,
    expert: LanguageModel,
    layers: Sequence[int],
    read: Int[Tensor, "window position"],
    say: Callable[[str], None],
) -> _Fitted:
    started = time.perf_counter()
    found = least_squares(expert, read, layers, weighting=config.weighting, ridge=config.ridge, say=say)
    return _Fitted(found, time.perf_counter() - started)


def _descended(
    config: LensRun,
    expert: LanguageModel,
    layers: Sequence[int],
    read: Int[Tensor, "window position"],
    say: Callable[[str], None],
    solved: _Fitted | None,
) -> _Fitted:
    """Train by the gradient; the time that it took to find the start is counted."""
    start = solved if config.fit.start is Start.least_squares else None
    started = time.perf_counter()
    found = fit(expert, read, layers, config.fit, config.seed, say, start=start.translators if start else None)
    return _Fitted(found, time.perf_counter() - started + (start.seconds if start else 0.0))


def _facts(
    config: LensRun, method: FitMethod, expert: LanguageModel, texts: Sequence[Text], tokens: int, seconds: float
) -> Mapping[str, str]:
    """Collect the facts for the lens's file: the expert, the texts, and the settings that the method has read."""
    solves = method is FitMethod.least_squares or config.fit.start is Start.least_squares
    names = (*(_OF_LEAST_SQUARES if solves else ()), *(_OF_GRADIENT if method is FitMethod.gradient else ()))
    record = provenance({}, texts_digest(texts), [])
    return {
        "expert": expert.name,
        "revision": str(expert.revision),
        "fingerprint": expert.fingerprint,
        "dtype": expert.dtype_name,
        "texts": f"{config.prompts.source.value} (split {config.prompts.split.value})",
        "texts_digest": texts_digest(texts),
        "text_ids": json.dumps([text.id for text in texts]),
        "tokens": str(tokens),
        "seed": str(config.seed),
        "method": method.value,
        "seconds": f"{seconds:.1f}",
        **{name: shown(getattr(config.fit, name)) for name in ("window_tokens", *names)},
        "started_utc": str(record["started_utc"]),
        "libraries": str(record["libraries"]),
    }


def texts_digest(texts: Sequence[Text]) -> str:
    """Tells texts apart, whatever they are called."""
    return hashlib.sha256("\0".join(text.text for text in texts).encode("utf-8", "surrogatepass")).hexdigest()
