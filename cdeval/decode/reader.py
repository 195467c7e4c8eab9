"""A model that reads what the beams write: its cache, its place in the text, one forward pass a step.

The expert is one, and so is every amateur with a forward pass of its own; all of them follow the same beams.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.decode.cache import LaneCache
from cdeval.decode.fixed_cache import FixedLaneCache
from cdeval.decode.steps import Step
from cdeval.models.attention import mask_rows
from cdeval.models.loading import LanguageModel


class Reader:
    """The state of one model between steps; all tensors live on its device."""

    state = ("_position",)

    def __init__(self, model: LanguageModel, beams: int) -> None:
        self.cache = LaneCache(model.parts.depth, mask_rows(model.model.config), model.parts.skips)
        self._model, self._beams = model, beams
        self._position: Step = 0  # of the token that is read next

    def fix(self) -> None:
        """Keep keys and values in storage whose size is fixed between two steps; called before the prompts are read."""
        parts = self._model.parts
        self.cache = FixedLaneCache(parts.depth, mask_rows(self._model.model.config), parts.skips)

    def prefill(
        self, prompts: Sequence[tuple[int, ...]]
    ) -> tuple[Float[Tensor, "prompt position head_width"], Int[Tensor, " lane"]]:
        """Run each different prompt once and give its slots to all its lanes.

        Returns what the head reads after every token of each different prompt, and which of them is each lane's.
        """
        unique = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        device = self._model.device
        sources = torch.tensor([unique[prompt] for prompt in prompts], dtype=torch.long, device=device)
        ids = torch.tensor(list(unique), dtype=torch.long, device=device)
        hidden = self._forward(ids, torch.arange(ids.shape[1], device=device)[None].expand_as(ids), None)
        self.cache.open_beams(sources, self._beams, hidden.dtype)
        self._position = ids.shape[1]
        return hidden, sources

    def read(self, tokens: Int[Tensor, "lane beam"]) -> Float[Tensor, "lane beam head_width"]:
        """Read the last tokens of all beams; returns what the head reads."""
        mask = self.cache.extend()
        hidden = self._forward(tokens, torch.zeros_like(tokens) + self._position, mask)
        self._position = self._position + 1
        return hidden

    def _forward(
        self, ids: Int[Tensor, "lane position"], positions: Int[Tensor, "lane position"], mask: Tensor | None
    ) -> Float[Tensor, "lane position head_width"]:
        output = self._model.parts.base(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self.cache.hf,
            use_cache=True,
            # A model that somebody else loaded may be set to return more than is read here, or tuples.
            output_hidden_states=False,
            output_attentions=False,
            return_dict=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
