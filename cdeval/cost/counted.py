"""FLOPs of a lane as torch counts them: the modules' own products, on shapes alone.

The formula of `cost.flops` has its constants from weights' sizes; here every pass that a lane needs is made on torch's
meta device, where nothing is multiplied, under `torch.utils.flop_counter`. Attention is eager, because fused attention
on the CPU counts as nothing. A prompt is counted token by token: a whole one would charge each token for its future.
Contexts enter linearly, so a context is counted at both ends of a lane and drawn straight between them.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from cdeval.config.enums import Normalizer
from cdeval.config.setting import Setting
from cdeval.cost.flops import LaneFlops, read_by_amateur
from cdeval.decode.amateurs.early_exit import EarlyExit, head_rows
from cdeval.decode.objective import CANDIDATES
from cdeval.models.lens import Translator, translated
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import truncate

_META = torch.device("meta")


def count_lane(
    expert: LanguageModel,
    setting: Setting,
    prompt_tokens: int,
    new_tokens: int,
    second: LanguageModel | None = None,
    own_prompt: int | None = None,
) -> LaneFlops:
    """FLOPs of one lane of beam search, greedy search or sampling; arguments as of `cost.flops.lane_flops`.

    Both models are on the meta device, with eager attention (`OpenedModel.on_paper`).

    Raises: ValueError: exits that depend on the text cannot be counted without one.
    """
    if setting.adaptive_exit is not None:
        raise ValueError("how early the expert exits depends on the text")
    beams = setting.beams
    amateur = 0
    if second is not None:
        amateur = _read(second, read_by_amateur(setting, prompt_tokens, own_prompt), beams, new_tokens)
    elif setting.amateur.kind == EarlyExit.name:
        amateur = _exit(expert, setting, 1) + (new_tokens - 1) * _exit(expert, setting, beams)
    prefill = _read(expert, prompt_tokens, beams, 1)
    return LaneFlops(prefill, _read(expert, prompt_tokens, beams, new_tokens) - prefill, amateur, new_tokens)


def _read(model: LanguageModel, prompt_tokens: int, beams: int, new_tokens: int) -> int:
    """A model reads a prompt token by token, and all beams' tokens but the last; its head is applied after each."""
    prompt = _over_contexts(model, 1, 1, prompt_tokens)
    decode = _over_contexts(model, beams, prompt_tokens + 1, prompt_tokens + new_tokens - 1)
    return prompt + _head(model, 1) + decode + (new_tokens - 1) * _head(model, beams)


def _over_contexts(model: LanguageModel, rows: int, first: int, last: int) -> int:
    """One token a row at each context from the first to the last."""
    if last < first:
        return 0
    return (last - first + 1) * (_token(model, rows, first) + _token(model, rows, last)) // 2


@lru_cache(maxsize=256)  # the arms of a pair share the expert
def _token(model: LanguageModel, rows: int, context: int) -> int:
    """One token a row through all blocks, attending to `context` slots, itself included."""
    blocks, kinds = list(model.parts.blocks), set(getattr(model.model.config, "layer_types", None) or ())
    if len(blocks) <= 2 or len(kinds) > 1 or any(_shapes(block) != _shapes(blocks[0]) for block in blocks):
        return _read_token(model, rows, context)
    # What one block more costs all others cost, too: the second one is counted for them.
    one, two = (_read_token(truncate(model, count), rows, context) for count in (1, 2))
    return one + (len(blocks) - 1) * (two - one)


def _shapes(block: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, weight.shape) for name, weight in block.named_parameters()]


def _read_token(model: LanguageModel, rows: int, context: int) -> int:
    cache = DynamicCache(config=model.model.config)

    def read(start: int, stop: int) -> None:
        places = torch.arange(start, stop, device=_META).expand(rows, -1)
        mask = torch.zeros(
            rows, 1, stop - start, stop, dtype=model.dtype, device=_META
        )  # made, not worked out of values
        model.parts.base(
            input_ids=places, position_ids=places, attention_mask=mask, past_key_values=cache, use_cache=True
        )

    with torch.inference_mode():
        if context > 1:
            read(0, context - 1)
        return _counted(lambda: read(context - 1, context))


def _head(model: LanguageModel, rows: int) -> int:
    """The head after some tokens; OPT's projection before it is part of its base model."""
    return _counted(lambda: model.parts.logits(_hidden(model, rows, model.parts.head_weight.shape[1])))


def _exit(model: LanguageModel, setting: Setting, rows: int) -> int:
    """An early exit after some tokens: its lens, and the head of all tokens or of the candidates."""
    amateur, width = setting.amateur, int(model.model.config.hidden_size)
    only_candidates = setting.normalizer is Normalizer.candidates and head_rows(amateur) == 1
    tokens = torch.zeros(rows, CANDIDATES, dtype=torch.long, device=_META)
    translator = Translator(_hidden(model, width, width).float(), _hidden(model, 1, width)[0].float())

    def look() -> None:
        states = [_hidden(model, rows, width) for _ in amateur.exits]
        if amateur.lens.translates:
            states = [translated(translator, state) for state in states]
        for state in states[: head_rows(amateur)]:
            finished = model.parts.finish(state)
            if only_candidates:
                model.parts.logits_of(finished, tokens)
            else:
                model.parts.logits(finished)

    return _counted(look)


def _hidden(model: LanguageModel, rows: int, width: int) -> Tensor:
    return torch.empty(rows, width, dtype=model.dtype, device=_META)


def _counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
