"""The anti-loop margin: what contrast pays for new text, less what it pays for saying the same again.

    margin = (β NLL_a − NLL_e on a passage) − (β NLL_a − NLL_e on the same passage, read directly after it)   [nats]

NLL_a is the layer's, at the amateur's temperature, NLL_e the expert's; means over the passage's tokens but the first,
which has nothing before it. Where a text begins with BOS, that first token is BOS, and the copy follows
without one: it goes on in the same text. Contrast rewards a token by log p_e − β log p_a: with a margin above 0 it
rewards new text more than repetition; with one below 0 the other way round, as layers do that have not yet learnt to
copy, and as every expert does by itself (β = 0). A diagnostic of our own, for choosing a setting before paying for
generation, and worth no more than the temperature and β it is taken at. `cdeval.lens.rule` holds it against a study's
texts, beside what it has to beat, a number that everyone has: the divergence KL(p_e || p_a) on the first copy, which
knows no β.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.lens.reading import Contrast, Passage, View, chunks, divergence, require_finite
from cdeval.metrics.stats import interval
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Estimate
from cdeval.store.progress import Steps

PASSAGES = 32
TOKENS = 48  # of a passage: with its copy, within every model's context
_DRAWS, _CONFIDENCE = 2000, 0.95

Cases = Sequence[tuple[View, Contrast]]  # layers through their lenses, and the β and T they are subtracted at
_Key = tuple[int, float]  # of a view at a temperature


class Readings(NamedTuple):
    """Passage by passage, case by case [nats]."""

    margins: Float[np.ndarray, "passage case"]  # the expert alone last
    divergences: Float[np.ndarray, "passage case"]  # KL(expert || amateur); the expert alone has none


def margins(
    expert: LanguageModel,
    texts: Sequence[Sequence[int]],
    cases: Cases,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Estimate]:
    """The margin of each case, then that of the expert alone (β = 0), with intervals over passages.

    Args:
        expert: any.
        texts: token ids, as of `passage_margins`.
        cases: what is subtracted.
        seed: of the resamples.
        say: told how far it is.

    Returns: NaN where no text is long enough.
    """
    rows = passage_readings(expert, texts, cases, say).margins
    if not len(rows):
        return [Estimate(float("nan"), float("nan"), float("nan"), 0, 0)] * (len(cases) + 1)
    return [mean_margin(column, seed) for column in rows.T]


def mean_margin(column: Float[np.ndarray, " passage"], seed: int) -> Estimate:
    """The mean over passages with its interval."""
    pairs = np.stack([column, np.ones_like(column)], axis=1)
    ends = interval(pairs, _mean, _CONFIDENCE, _DRAWS, seed)
    return Estimate(float(column.mean()), ends.low, ends.high, len(column), 0)


def passage_readings(
    expert: LanguageModel,
    texts: Sequence[Sequence[int]],
    cases: Cases,
    say: Callable[[str], None] = lambda _line: None,
) -> Readings:
    """The margins and divergences of each passage.

    Args:
        expert: any.
        texts: token ids; the first `TOKENS` of each of the first `PASSAGES` of two tokens or more are a passage.
        cases: what is subtracted.
        say: told how far it is.
    """
    chosen = read_twice(expert, texts, PASSAGES)
    read = []
    with Steps(say, "margins of passage", len(chosen)) as progress:
        for passage in chosen:
            read.append(_read(expert, passage, cases))
            progress.advance(1)
    margins, divergences = (np.array([found[side] for found in read], dtype=np.float64) for side in (0, 1))
    require_finite(expert, [*margins.flat, *divergences.flat], "an anti-loop margin or divergence of a layer")
    return Readings(margins.reshape(len(read), len(cases) + 1), divergences.reshape(len(read), len(cases)))


def _mean(rows: Float[np.ndarray, "... text 2"]) -> Float[np.ndarray, "..."]:
    sums = rows.sum(axis=-2)
    return np.asarray(sums[..., 0] / sums[..., 1])


class Twice(NamedTuple):
    """A passage and its copy, and the places whose next tokens are asked for: of the first copy, then of the second."""

    ids: Int[Tensor, "1 token"]
    places: list[int]
    first: int  # of the places, those of the first copy

    @property
    def targets(self) -> Int[Tensor, " place"]:
        """The tokens that follow."""
        return self.ids[0, [place + 1 for place in self.places]]

    def margin(self, pays: Float[Tensor, " place"]) -> float:
        """What a contrast pays for the first copy's tokens less what it pays for the second's, means [nats]."""
        return float(pays[: self.first].mean() - pays[self.first :].mean())


def read_twice(expert: LanguageModel, texts: Sequence[Sequence[int]], passages: int) -> list[Twice]:
    """Lay passages out to be read twice: the first `TOKENS` of each of the first texts that have two tokens or more."""
    codec = TextCodec(expert.tokenizer)
    cut = ((list(text[:TOKENS]), codec.marks(text)) for text in texts)
    long = ((passage, marks) for passage, marks in cut if len(passage) > max(marks, 1))
    return [_twice(expert, passage, marks) for passage, marks in itertools.islice(long, passages)]


def _twice(expert: LanguageModel, passage: list[int], marks: int) -> Twice:
    """Lay out one passage, which begins with so many `marks`: BOS, where there is one, which the copy leaves out."""
    ids = torch.tensor([passage + passage[marks:]], device=expert.device)
    # Predicted from the place before: the tokens of the first copy from `start` on, then the same ones of the second.
    start = max(marks, 1)
    first = len(passage) - start
    places = [*range(start - 1, len(passage) - 1), *range(ids.shape[1] - 1 - first, ids.shape[1] - 1)]
    return Twice(ids, places, first)


@torch.inference_mode()
def _read(expert: LanguageModel, passage: Twice, cases: Cases) -> tuple[list[float], list[float]]:
    """The margins and divergences of one passage."""
    ids, places, first = passage
    with tap(expert.parts, {view.layer for view, _ in cases}) as tapped:
        finished = expert.parts.base(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[0]
        hidden = {layer: out[0] for layer, out in tapped.items()}
    passage_read = Passage({layer: out[places] for layer, out in hidden.items()}, finished[places], passage.targets)
    parts = [_paid(expert, passage_read.part(rows), cases) for rows in chunks(expert, len(places))]
    own = torch.cat([part.own for part in parts])
    margins, divergences = [], []
    for view, contrast in cases:
        key = _key(view, contrast)
        pays = contrast.beta * torch.cat([part.nll[key] for part in parts]) - own
        margins.append(passage.margin(pays))
        divergences.append(float(torch.cat([part.apart[key] for part in parts])[:first].mean()))
    return [*margins, float(own[first:].mean() - own[:first].mean())], divergences


class _Paid(NamedTuple):
    """The cost of some positions [nats]; of the amateurs by `_key`, as cases may differ in β alone."""

    own: Float[Tensor, " row"]  # the expert's NLL
    nll: dict[_Key, Float[Tensor, " row"]]  # the amateur's, at its temperature
    apart: dict[_Key, Float[Tensor, " row"]]  # KL(expert || amateur)


def _key(view: View, contrast: Contrast) -> _Key:
    return id(view), contrast.temperature


def _paid(expert: LanguageModel, part: Passage, cases: Cases) -> _Paid:
    targets = part.targets[:, None]
    log_expert = torch.log_softmax(expert.parts.logits(part.finished).float(), dim=-1)
    found = _Paid(-log_expert.gather(1, targets)[:, 0], {}, {})
    for view, contrast in cases:
        key = _key(view, contrast)
        if key not in found.nll:
            logits = view.logits(expert, part.hidden[view.layer]).float()
            log_exit = torch.log_softmax(logits / contrast.temperature, dim=-1)
            found.nll[key] = -log_exit.gather(1, targets)[:, 0]
            found.apart[key] = divergence(log_expert, log_exit)
    return found
