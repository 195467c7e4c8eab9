"""Texts by `generate` of transformers, with any of its arguments: logits processors, a `custom_generate`, and so on.

A text is made alone, by random numbers of its own, so that it is the same in whatever order texts are made. The model's
own `generation_config` is read for its end tokens alone: what shapes a text is what `search.generate` says, and
transformers' usual values. What is banned (`search.ban`) is passed on as `suppress_tokens`.
"""

import hashlib
import inspect
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList

from cdeval.config.enums import Ban
from cdeval.config.schema import SearchConfig
from cdeval.config.targets import TARGET, callable_of, made
from cdeval.decode.clock import Clock
from cdeval.decode.guard import is_out_of_memory
from cdeval.decode.lanes import BatchStats, Continuation, Lane
from cdeval.errors import ConfigError, ModelError, did_you_mean, one_line
from cdeval.models.loading import LanguageModel
from cdeval.models.quiet import quiet_transformers
from cdeval.models.vocabulary import banned_tokens, end_tokens

SETTING: Final = "search.generate"
_CUSTOM: Final = "custom_generate"
_LISTS: Final = {"logits_processor": LogitsProcessorList, "stopping_criteria": StoppingCriteriaList}
_OURS = "cdeval gives it"
_TEXTS = "the texts are read, and nothing else"

# Arguments of `generate` that are no one's to give here, and what does instead.
_RESERVED: Final = {
    **dict.fromkeys(("max_new_tokens", "max_length"), "use search.max_new_tokens"),
    "num_return_sequences": "use search.samples",
    **dict.fromkeys(("inputs", "input_ids", "inputs_embeds", "attention_mask"), "the prompts are those of prompts="),
    **dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), f"{_OURS}; search.ban=none lets texts end"),
    **dict.fromkeys(("generation_config", "tokenizer", "synced_gpus"), _OURS),
    **dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits", "streamer"), _TEXTS),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), _TEXTS),
    "trust_remote_code": "code of the hub is never run",
    "dola_layers": "transformers moved DoLa to code of the hub, which is never run; use amateur=dola",
    "penalty_alpha": "transformers moved it to code of the hub, which is never run; use search=contrastive_search",
    **dict.fromkeys(
        ("constraints", "force_words_ids", "num_beam_groups", "diversity_penalty"),
        "transformers moved it to code of the hub, which is never run",
    ),
}


def check_arguments(search: SearchConfig) -> None:
    """Check the arguments of `search=hf` as far as that needs no model.

    Raises: ConfigError: one belongs to another setting, is none of `generate`, or is refused by it; an object cannot be
        made.
    """
    given = search.generate
    for name in given:
        if name in _RESERVED:
            raise ConfigError(f"{SETTING}.{name}: {_RESERVED[name]}.")
    arguments = _made(given)
    custom = inspect.signature(arguments[_CUSTOM]).parameters if _CUSTOM in arguments else {}
    plain = vars(GenerationConfig())
    known = {*plain, *inspect.signature(GenerationMixin.generate).parameters, *custom} - {"self", "kwargs", *_RESERVED}
    known = {name for name in known if not name.startswith("_")}
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in custom.values())
    unknown = next((name for name in arguments if name not in known and not anything), None)
    if unknown is not None:
        raise ConfigError(f"{SETTING}.{unknown}: generate has no such argument. {did_you_mean(unknown, known)}")
    if custom:  # reads the arguments as it likes
        return
    try:
        with quiet_transformers():
            GenerationConfig(**{name: one for name, one in arguments.items() if name in plain}).validate(strict=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{SETTING}: transformers refuses it: {_reason(error)}") from error


def generate_lane(
    expert: LanguageModel, lane: Lane, on_step: Callable[[int], None]
) -> tuple[list[Continuation], BatchStats]:
    """Continue one prompt by `generate`; `on_step` hears how many tokens are gained.

    Raises: ConfigError: an object cannot be made. ModelError: `generate` raises an exception, or what it returns is no
        continuation of the prompt.
    """
    setting, model = lane.setting, expert.model
    arguments = arguments_of(expert, lane)
    prompt = torch.tensor([lane.prompt], device=expert.device)
    clock, forwards = Clock(expert.device), 0

    def read(*_: object) -> None:
        nonlocal forwards
        forwards += 1
        clock.mark()
        on_step(1)

    hook = model.register_forward_hook(read)
    try:
        with quiet_transformers(), _seeded(seed_of(setting.sampling.seed, lane.id, lane.sample), expert.device):
            found = model.generate(prompt, attention_mask=torch.ones_like(prompt), **arguments)
    except ConfigError:
        raise
    except Exception as error:  # whatever transformers and a user's code raise
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{SETTING}: generate raised {type(error).__name__}: {_reason(error)}") from error
    finally:
        hook.remove()
    clock.mark()
    intervals, wall = clock.read()
    ids = _continuation(getattr(found, "sequences", found), lane, model.get_output_embeddings().weight.shape[0])
    ends = set(end_tokens(model, expert.tokenizer)) if setting.ban is Ban.none else set()
    length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    ended = length < len(ids)
    on_step(length + ended - forwards)
    text = Continuation(tuple(ids[:length]), math.nan, math.nan, ended)
    steps = max(1, length + ended)
    return [text], BatchStats(1, steps, _by_token(intervals, steps, wall), wall, peak_slots=0)


def arguments_of(expert: LanguageModel, lane: Lane) -> dict[str, Any]:
    """Make what `generate` takes for one lane beside its prompt; objects are made anew."""
    setting, model = lane.setting, expert.model
    arguments = _made(json.loads(setting.generate or "{}"))
    ends = end_tokens(model, expert.tokenizer)
    banned = {*banned_tokens(setting.ban, model, expert.tokenizer), *(arguments.pop("suppress_tokens", None) or ())}
    if banned:
        arguments["suppress_tokens"] = sorted(banned)
    if "stop_strings" in arguments:
        arguments["tokenizer"] = expert.tokenizer
    base = GenerationConfig(eos_token_id=list(ends) or None, pad_token_id=ends[0] if ends else 0)
    return {"generation_config": base, "max_new_tokens": setting.max_new_tokens, **arguments}


def seed_of(seed: int, prompt: str, sample: int) -> int:
    """Derive the seed of one text, for torch, numpy and Python, from the study's [32 bits]."""
    name = f"{seed}\0{sample}\0{prompt}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:4], "little")


def _made(given: Mapping[str, Any]) -> dict[str, Any]:
    """Make the objects that arguments name. Raises: ConfigError: one cannot be made."""
    found = {name: made(value, f"{SETTING}.{name}") for name, value in given.items() if name != _CUSTOM}
    for name, kind in _LISTS.items():
        if name in found:
            found[name] = kind(found[name] if isinstance(found[name], list) else [found[name]])
            wrong = next((one for one in found[name] if not callable(one)), None)
            if wrong is not None:
                raise ConfigError(
                    f"{SETTING}.{name} holds {wrong!r}: expected objects, as [{{{TARGET}: my_module.MyProcessor}}]."
                )
    if _CUSTOM in given:
        found[_CUSTOM] = _custom(given[_CUSTOM])
    return found


def _custom(given: object) -> Callable[..., Any]:
    """Find the callable of `custom_generate`, with the values that are given beside it."""
    if not isinstance(given, Mapping) or TARGET not in given:
        raise ConfigError(
            f"{SETTING}.{_CUSTOM}={given}: code of the hub or of a folder is never run. Give a callable, as "
            f"{{{TARGET}: my_module.my_generate}}."
        )
    return callable_of(given, f"{SETTING}.{_CUSTOM}")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all random numbers that a text may be made by; the caller's go on afterwards as if none had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _continuation(found: object, lane: Lane, vocabulary: int) -> list[int]:
    """The tokens that follow the prompt. Raises: ModelError: these are none, or too many."""
    if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[0] != 1:
        got = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(f"{SETTING} returned {got}: expected token ids of shape [1, prompt and new tokens].")
    ids: list[int] = [int(token) for token in found[0].tolist()]
    start, most = len(lane.prompt), lane.setting.max_new_tokens
    if tuple(ids[:start]) != lane.prompt:
        raise ModelError(f"{SETTING} returned token ids that do not begin with the prompt's: expected both together.")
    if len(ids) - start > most or any(not 0 <= token < vocabulary for token in ids):
        raise ModelError(
            f"{SETTING} returned {len(ids) - start} new tokens: expected at most {most}, each a token of the expert's."
        )
    return ids[start:]


def _by_token(intervals: Sequence[float], steps: int, wall: float) -> tuple[float, ...]:
    """Share the time of a text out to its tokens: to the first that of the prompt, to the last what came after.

    Where a step is not a forward pass, as in assisted decoding, the tokens after the first have equal parts; where the
    model was not called as it usually is, all have.

    Args:
        intervals: of the forward passes, and what came after the last [s].
        steps: tokens.
        wall: seconds in all.
    """
    passes, after = list(intervals[:-1]), sum(intervals[-1:])
    if passes and len(passes) == steps:
        return (*passes[:-1], passes[-1] + after)
    if not passes or steps == 1:
        return (wall / steps,) * steps
    return (passes[0], *[(wall - passes[0]) / (steps - 1)] * (steps - 1))


def _reason(error: Exception) -> str:
    """Shorten what transformers says: its advice on files is left out."""
    return one_line(error).partition("If you're using a pretrained model")[0].strip().rstrip(".") + "."
