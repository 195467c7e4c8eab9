"""Contrastive decoding as it is done without an engine of its own: a second model inside a `LogitsProcessor`.

The amateur is the expert's first k blocks as a separate model of the same class, so that it gives the very tokens of
the early exit at k, at the price of a forward pass of its own. Its weights are the expert's, shared in memory.
"""

from copy import deepcopy

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from cdeval.config.setting import Setting
from cdeval.decode.objective import contrast, objective_settings


def truncated(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    """The first `layer` blocks of a causal language model, with its final norm and head, as a model of its own."""
    config = deepcopy(model.config)
    config.num_hidden_layers = layer
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:layer]
    small = type(model)(config)
    weights = model.state_dict()
    small.load_state_dict({name: weights[name] for name in small.state_dict()}, assign=True)
    return small.to(model.device).eval().requires_grad_(requires_grad=False)


class AmateurProcessor(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Subtract a separate amateur inside `generate`; one object serves one call.

    What people publish re-reads the whole text at every step, or keeps a cache that goes wrong when beams are
    re-ordered. This one keeps a cache and re-orders it rightly (each row looks for the row that it continues), so the
    peer is the best of its kind: it pays the amateur's blocks for one token a beam and step.
    """

    def __init__(self, amateur: PreTrainedModel, setting: Setting) -> None:
        self._amateur, self._beams = amateur, setting.beams
        self._objective = objective_settings([setting], amateur.device)
        self._cache = DynamicCache(config=amateur.config)
        self._seen: Int[Tensor, "row token"] | None = None

    def __call__(
        self, input_ids: Int[Tensor, "row token"], scores: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row vocab"]:
        """The objective, where Hugging Face expects log-probabilities; banned tokens are at -inf already."""
        new = input_ids if self._seen is None else input_ids[:, -1:]
        if self._seen is not None:
            self._cache.reorder_cache(self._parents(input_ids[:, :-1], self._seen))
        self._seen = input_ids.clone()
        positions = torch.arange(input_ids.shape[1] - new.shape[1], input_ids.shape[1], device=new.device)
        output = self._amateur(
            input_ids=new,
            attention_mask=torch.ones_like(input_ids),
            position_ids=positions[None].expand_as(new),
            past_key_values=self._cache,
            logits_to_keep=1,
        )
        return contrast(scores[None], output.logits[None, :, -1], self._objective)[0]

    def _parents(self, past: Int[Tensor, "row token"], seen: Int[Tensor, "row token"]) -> Int[Tensor, " row"]:
        """Find for each row one row of its prompt's step before that it continues (equal rows have equal caches)."""
        now, before = (rows.view(-1, self._beams, rows.shape[1]) for rows in (past, seen))
        within = (now[:, :, None] == before[:, None]).all(dim=-1).to(torch.uint8).argmax(dim=-1)
        first = torch.arange(0, len(past), self._beams, device=past.device)
        return (within + first[:, None]).flatten()
