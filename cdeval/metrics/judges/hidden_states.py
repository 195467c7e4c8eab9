"""The features that MAUVE clusters: a language model's last hidden state at the last token of each text."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32

from cdeval.metrics.features import NO_CACHE, FeatureCache, key, require_finite
from cdeval.metrics.judges.scorer import Scorer, described, equal_batches, identity
from cdeval.store.progress import Steps

_TOKENS_AT_ONCE = 8192


def last_hidden_features(
    scorer: Scorer, texts: Sequence[Sequence[int]], cache: FeatureCache = NO_CACHE, ids: Sequence[str] = ()
) -> Float32[np.ndarray, "text width"]:
    """The model's last hidden state, after its final norm, at the last token of each text.

    The model reads the tokens as they are: no prompt, no BOS, no padding. `ids` name the texts in messages.

    Raises: ValueError: no text, or one without tokens. ModelError: a state that is no finite number.
    """
    if not texts or any(len(tokens) == 0 for tokens in texts):
        raise ValueError("a text without tokens has no features: leave it out and count it")
    model = identity(scorer)
    keys = [key("last hidden state", model, tokens) for tokens in texts]
    rows = cache.rows(keys, lambda missing: _last_hidden(scorer, [texts[index] for index in missing], cache.say))
    names = list(ids) or [f"{place}" for place in range(len(texts))]
    require_finite(rows, names, "MAUVE", described(scorer), "a last hidden state")
    return rows.astype(np.float32)


@torch.inference_mode()
def _last_hidden(
    scorer: Scorer, texts: Sequence[Sequence[int]], say: Callable[[str], None]
) -> Float32[np.ndarray, "text width"]:
    features: list[Float32[np.ndarray, " width"]] = [np.empty(0, dtype=np.float32)] * len(texts)
    with Steps(say, "features of text", len(texts)) as steps:
        for batch in equal_batches([len(tokens) for tokens in texts], lambda length: _TOKENS_AT_ONCE // length):
            ids = torch.tensor([list(texts[index]) for index in batch], device=scorer.model.device)
            hidden = scorer.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            for index, vector in zip(batch, hidden[:, -1].float().cpu().numpy(), strict=True):
                features[index] = vector
            steps.advance(len(batch))
    return np.stack(features)
