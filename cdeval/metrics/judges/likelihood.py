"""The likelihood of continuations under a language model, given their prompts: perplexity's rows, text by text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import cross_entropy

from cdeval.config.enums import Ban
from cdeval.errors import ModelError
from cdeval.metrics.features import NO_CACHE, FeatureCache, key, require_finite
from cdeval.metrics.judges.scorer import Scorer, context_length, described, equal_batches, identity
from cdeval.records import Generation
from cdeval.store.progress import Steps

_LOGIT_BYTES = 2**28  # of one batch; each text's float32 log-softmax comes on top, one text at a time


def nll_rows(
    scorer: Scorer, generations: Sequence[Generation], cache: FeatureCache = NO_CACHE
) -> Float[np.ndarray, "text 2"]:
    """Negative log-likelihood [nats] and number of tokens of each continuation; NaN, NaN where it has no tokens.

    A text's `logprob_expert` is taken for the scorer's, over the text's tokens: `with_known_logprobs` sees to that.

    Raises:
        ValueError: a prompt without tokens, which leaves the first token without a distribution.
        ModelError: a text longer than the model's context, or one whose log-probability is no finite number.
    """
    _check(scorer, generations)
    rows = np.full((len(generations), 2), math.nan)
    scored = []
    for index, generation in enumerate(generations):
        # A token at which the expert exited early has the exit's probability, not the whole model's.
        known = None if generation.exit_layers else generation.logprob_expert
        if generation.token_ids and known is not None and math.isfinite(known):
            rows[index] = -known, len(generation.token_ids)
        elif generation.token_ids:
            scored.append(index)
    if scored:
        texts = [generations[index] for index in scored]
        model = identity(scorer)
        keys = [key("nll", model, text.prompt_token_ids, text.token_ids) for text in texts]
        nll = cache.rows(keys, lambda missing: _nll(scorer, [texts[index] for index in missing], cache.say))
        require_finite(nll, [text.id for text in texts], "perplexity", described(scorer), "a log-probability")
        rows[scored, 0] = nll[:, 0]
        rows[scored, 1] = [len(text.token_ids) for text in texts]
    return rows


def with_known_logprobs(generations: Sequence[Generation], ban: Ban | None) -> list[Generation]:
    """The texts, with the log-probabilities of the scorer's own making where they are over the texts' tokens alone.

    The log-probability of a text that ended by itself counts the end token, which is not among its tokens: such texts
    are read again. A study, the score command and the Python interface all come through here.

    Args:
        generations: of one arm.
        ban: what could not be drawn while the scorer wrote the texts. None: that is not known, or another model, or the
            scorer in another number format, wrote them.
    """
    if ban not in (None, Ban.none):
        return list(generations)
    return [
        generation if generation.logprob_expert is None else replace(generation, logprob_expert=None)
        for generation in generations
    ]


def _nll(scorer: Scorer, generations: Sequence[Generation], say: Callable[[str], None]) -> Float[np.ndarray, "text 1"]:
    """The negative log-likelihood [nats] of texts that have tokens."""
    rows = np.empty((len(generations), 1))
    shapes = [(len(text.prompt_token_ids), len(text.token_ids)) for text in generations]
    token_bytes = 4 * scorer.model.config.get_text_config().vocab_size
    with Steps(say, "likelihood of text", len(generations)) as steps:
        for batch in equal_batches(shapes, lambda shape: _LOGIT_BYTES // (token_bytes * shape[1])):
            rows[batch, 0] = _batch_nll(scorer, [generations[index] for index in batch], shapes[batch[0]][1])
            steps.advance(len(batch))
    return rows


def describe(judge: str, *, retokenised: bool, wrote_the_texts: bool | None) -> str:
    """Say what another perplexity must share to be comparable; None: nobody knows who wrote the texts."""
    relation = {
        True: "the model that generated the arms",
        False: "another model than the one that generated the arms",
        None: "whether it generated them is not known",
    }[wrote_the_texts]
    tokens = ", on the texts as it tokenises them" if retokenised else ""
    return f"of the continuation given its prompt, under {judge} ({relation}{tokens})"


@torch.inference_mode()
def _batch_nll(scorer: Scorer, generations: Sequence[Generation], tokens: int) -> list[float]:
    """The summed negative log-likelihoods of continuations of `tokens` tokens after prompts of one length [nats].

    Position t predicts token t + 1, so the last token is not fed, and only the last `tokens` positions need the head:

        fed      p0 p1 p2 x0 x1        prompt p0 p1 p2, continuation x0 x1 x2
        predicts  .  . x0 x1 x2
    """
    ids = torch.tensor(
        [[*generation.prompt_token_ids, *generation.token_ids] for generation in generations],
        device=scorer.model.device,
    )
    logits = scorer.model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=tokens).logits
    targets = ids[:, -tokens:]
    sums = [cross_entropy(row.float(), target, reduction="sum") for row, target in zip(logits, targets, strict=True)]
    nll: list[float] = torch.stack(sums).tolist()
    return nll


def _check(scorer: Scorer, generations: Sequence[Generation]) -> None:
    limit = context_length(scorer) or math.inf
    for generation in generations:
        if not generation.prompt_token_ids:
            raise ValueError(f"prompt {generation.id!r} has no tokens")
        length = len(generation.prompt_token_ids) + len(generation.token_ids)
        if length > limit:
            raise ModelError(
                f"Text {generation.id!r} has {length} tokens with its prompt, but {scorer.name} reads at most {limit}: "
                "shorten the texts, or score them with a model of a longer context."
            )
