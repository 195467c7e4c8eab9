"""Slow, plain re-computations to compare the engine with: no cache, no lanes, no tensors where a loop will do."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import torch
from scipy.spatial.distance import jensenshannon

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, SearchKind, TemperatureForm
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.plausibility import ALPHA
from cdeval.config.setting import Sampling, Setting
from cdeval.decode.draws import draw_keys, exponentials, token_bits
from cdeval.decode.lanes import Lane
from cdeval.decode.warping import warp, warping
from cdeval.models.lens import Translator
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens, end_tokens
from tests.decode.plausibility.definitions import DEFINED

NO_TRANSLATORS: Mapping[int, Translator] = {}
# The output of every block and the logits, at the last position of some tokens.
Forward = Callable[[LanguageModel, tuple[int, ...]], tuple[list[torch.Tensor], torch.Tensor]]


def setting(**changes: object) -> Setting:
    """A beam search of the expert alone, but for the changes."""
    plain: dict[str, object] = {
        "amateur": Amateur(),
        "alpha": 0.1,
        "beta": 1.0,
        "temperature": 1.0,
        "temperature_form": TemperatureForm.softmax,
        "normalizer": Normalizer.full,
        "search": SearchKind.beam,
        "beams": 5,
        "max_new_tokens": 12,
        "ban": Ban.special,
    }
    return Setting(**{**plain, **changes})  # type: ignore[arg-type]


def early_exit(layer: int, **changes: object) -> Setting:
    """The seed experiment's setting at an exit layer, but for the changes."""
    return setting(**{"amateur": Amateur("early_exit", layer), "temperature": 0.5, **changes})


def chosen_exit(
    layers: tuple[int, ...], lens: Lens = Lens.norm, lens_file: str | None = None, **how: object
) -> Amateur:
    """An early exit that is chosen at every token."""
    return Amateur("early_exit", lens=lens, lens_file=lens_file, layers=layers, **how)  # type: ignore[arg-type]


@torch.inference_mode()
def blocks_and_logits(lm: LanguageModel, ids: tuple[int, ...]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The output of every block and the logits, at the last position, by one full forward pass."""
    kept: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) else out))
        for block in lm.parts.blocks
    ]
    try:
        logits = lm.model(torch.tensor([ids])).logits[0, -1].float()
    finally:
        for handle in handles:
            handle.remove()
    return [out[0, -1] for out in kept], logits


def exit_logits(
    lm: LanguageModel, hidden: torch.Tensor, lens: Lens = Lens.norm, translator: Translator | None = None
) -> torch.Tensor:
    """The logits of one block's output through a lens, by its definition."""
    if translator is not None:
        hidden = hidden + translator.matrix @ hidden + translator.bias
    if lens is not Lens.raw and lm.parts.norm is not None:
        hidden = lm.parts.norm(hidden)
    if lm.parts.project_out is not None:
        hidden = lm.parts.project_out(hidden)
    logits = lm.model.get_output_embeddings()(hidden).float()
    if lm.parts.softcap:
        logits = lm.parts.softcap * torch.tanh(logits / lm.parts.softcap)
    return logits


def chosen_layer(  # one line a definition
    amateur: Amateur, step: int, steps: int, blocks: list[torch.Tensor], exits: dict[int, torch.Tensor], p: torch.Tensor
) -> int:
    """Which candidate is the amateur of the next token."""
    if amateur.selection is Selection.jsd:
        return max(exits, key=lambda k: float(jensenshannon(p.double(), exits[k].softmax(-1).double()) ** 2))
    assert amateur.threshold is not None
    needed = min(1.0, max(0.0, 0.9 * amateur.threshold + 0.1 * math.exp(-4 * step / steps)))
    for k in sorted(exits):
        if amateur.measure is ConfidenceMeasure.softmax:
            best, second = sorted(exits[k].softmax(-1).tolist())[-1:-3:-1]
            confidence = best - second
        elif k == 1:
            confidence = 0.0
        else:
            now, before = blocks[k - 1].double(), blocks[k - 2].double()
            confidence = float(now @ before / (now.norm() * before.norm()))
        if confidence >= needed:
            return k
    return max(exits)


def implausible(log_expert: torch.Tensor, how: Setting) -> torch.Tensor:
    """Which tokens may not be chosen, by the rule's definition; without an amateur, alpha stands for no rule."""
    rule = how.plausibility
    if rule == ALPHA:
        alpha = how.alpha if how.amateur.contrasts else 0.0
        return log_expert < log_expert.max() + (math.log(alpha) if alpha else -math.inf)
    kept = DEFINED[rule.rule](log_expert.double().tolist(), **dict(rule.settings))
    return torch.tensor([token not in kept for token in range(len(log_expert))])


@torch.inference_mode()
def next_scores(
    lm: LanguageModel,
    ids: tuple[int, ...],
    how: Setting,
    step: int = 0,
    translators: Mapping[int, Translator] = NO_TRANSLATORS,
    forward: Forward = blocks_and_logits,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(objective, expert log-probabilities) of every next token after `ids`, `step` of them generated."""
    blocks, logits = forward(lm, ids)
    log_expert = torch.log_softmax(logits, -1)
    p_expert = log_expert.exp()
    log_expert[list(banned_tokens(how.ban, lm.model, lm.tokenizer))] = -math.inf
    amateur = how.amateur
    if not amateur.contrasts:
        return log_expert.masked_fill(implausible(log_expert, how), -math.inf), log_expert
    exits = {k: exit_logits(lm, blocks[k - 1], amateur.lens, translators.get(k)) for k in amateur.exits}
    layer = amateur.layer or chosen_layer(amateur, step, how.max_new_tokens, blocks, exits, p_expert)
    exit_values = exits[layer]
    outside = implausible(log_expert, how)
    if how.normalizer is Normalizer.candidates:
        exit_values[outside] = -math.inf
    if how.temperature_form is TemperatureForm.softmax:
        log_amateur = torch.log_softmax(exit_values / how.temperature, -1)
    else:
        log_amateur = torch.log_softmax(exit_values, -1) / how.temperature
    scores = log_expert - how.beta * log_amateur
    scores[outside] = -math.inf
    return scores, log_expert


def naive_search(
    lm: LanguageModel,
    prompt: tuple[int, ...],
    how: Setting,
    translators: Mapping[int, Translator] = NO_TRANSLATORS,
    forward: Forward = blocks_and_logits,
) -> tuple[tuple[int, ...], float]:
    """Beam search by full forward passes, one beam at a time, fixed length; returns (tokens, score)."""
    return best_text(lambda text: next_scores(lm, prompt + text, how, len(text), translators, forward)[0], how)


def best_text(scores_of: Callable[[tuple[int, ...]], torch.Tensor], how: Setting) -> tuple[tuple[int, ...], float]:
    """Beam search of fixed length over any scores of the tokens that follow a text; returns (tokens, score)."""
    beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(how.max_new_tokens):
        candidates = []
        for text, total in beams:
            scores = scores_of(text)
            values, tokens = scores.topk(min(how.beams, len(scores)))
            candidates += [
                ((*text, int(token)), total + float(value))
                for value, token in zip(values, tokens, strict=True)
                if value > -math.inf
            ]
        beams = sorted(candidates, key=lambda beam: -beam[1])[: how.beams]
    return beams[0]


def sampled(base: Setting | None = None, **narrowed: object) -> Setting:
    """Sampling instead of what a setting does."""
    drawn = Sampling(**narrowed)  # type: ignore[arg-type]
    return replace(base or setting(), search=SearchKind.sample, beams=1, sampling=drawn)


def naive_sample(
    lm: LanguageModel, lane: Lane, forward: Forward = blocks_and_logits
) -> tuple[tuple[int, ...], float, bool]:
    """Draws one token after the other by full forward passes; returns (tokens, score, ended by an end token)."""
    ends = set(end_tokens(lm.model, lm.tokenizer)) - set(banned_tokens(lane.setting.ban, lm.model, lm.tokenizer))
    return drawn_text(lambda text: next_scores(lm, lane.prompt + text, lane.setting, forward=forward)[0], lane, ends)


def drawn_text(
    scores_of: Callable[[tuple[int, ...]], torch.Tensor], lane: Lane, ends: Collection[int] = ()
) -> tuple[tuple[int, ...], float, bool]:
    """Draws one token after the other from any scores of the tokens that follow a text, as `naive_sample`."""
    how, text, total = lane.setting, (), 0.0
    keys = draw_keys(how.sampling.seed, lane.id, lane.sample, how.max_new_tokens)
    for key in keys:
        scores = scores_of(text)
        bits = token_bits(len(scores), scores.device)
        noise = exponentials(bits[None, None], torch.tensor([key]))[0, 0]
        weights = warp(scores[None, None], warping([how.sampling], scores.device))[0, 0].softmax(-1)
        token = int((weights / noise).argmax())
        total += float(scores[token])
        if token in ends:
            return text, total, True
        text = (*text, token)
    return text, total, False


@torch.inference_mode()
def naive_contrastive_search(lm: LanguageModel, prompt: tuple[int, ...], how: Setting) -> tuple[tuple[int, ...], float]:
    """Su et al. 2022 by its definition: full forward passes over every candidate, every cosine by itself."""
    text: tuple[int, ...] = ()
    total = 0.0
    ends = set(end_tokens(lm.model, lm.tokenizer))
    for _ in range(how.max_new_tokens):
        _, log_expert = next_scores(lm, prompt + text, how)
        candidates = log_expert.topk(how.beams).indices.tolist()
        ids = torch.tensor([[*prompt, *text, token] for token in candidates])
        found = []
        for token, states in zip(candidates, lm.model(ids, output_hidden_states=True).hidden_states[-1], strict=True):
            *before, own = states.float()
            similar = max(float(torch.cosine_similarity(own, other, dim=0)) for other in before)
            found.append(((1 - how.penalty) * math.exp(float(log_expert[token])) - how.penalty * similar, token))
        best, chosen = max(found)
        total += best
        if chosen in ends:
            break
        text = (*text, chosen)
    return text, total
