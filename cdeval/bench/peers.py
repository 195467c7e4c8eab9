"""The decoders that are compared, a function each: the engine, Hugging Face's `generate`, the seed experiment's way.

Each returns a function that decodes all prompts under all settings, `new_tokens` tokens a text, special tokens banned;
texts come prompt by prompt, the settings of a prompt side by side.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, SuppressTokensLogitsProcessor

from cdeval.bench.amateur import AmateurProcessor
from cdeval.bench.plan import Pass, Run
from cdeval.config.amateur import Amateur
from cdeval.config.enums import Compile, TemperatureForm
from cdeval.config.setting import Setting
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Lane
from cdeval.models.attention import attend_as
from cdeval.models.loading import LanguageModel
from cdeval.models.quiet import quiet_transformers
from cdeval.models.vocabulary import banned_tokens

Tokens = tuple[int, ...]


def ours(  # noqa: PLR0913 - two with a default
    expert: LanguageModel,
    prompts: Sequence[Tokens],
    settings: Sequence[Setting],
    max_lanes: int,
    compact_every: int,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    *,
    compiling: Compile = Compile.auto,
) -> Run:
    """The engine: all prompts and settings are lanes of the same forward passes, `max_lanes` at a time."""

    def run(new_tokens: int) -> Pass:
        fixed = [replace(setting, max_new_tokens=new_tokens) for setting in settings]
        lanes = [Lane(prompt, setting) for prompt in prompts for setting in fixed]
        texts: dict[int, Tokens] = {}
        peak = 0
        batches = decode(
            expert,
            lanes,
            max_lanes=max_lanes,
            compact_every=compact_every,
            compiling=compiling,
            amateur_models=amateur_models,
        )
        for batch in batches:
            texts.update(zip(batch.lanes, (answer.token_ids for answer in batch.continuations), strict=True))
            peak = max(peak, batch.stats.peak_slots)
        return Pass(tuple(texts[i] for i in range(len(lanes))), peak)

    return run


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways in which `generate` may be run."""

    helped: bool = True  # without a detour of its prefill on a CPU (`contiguous_head`)
    attention: str | None = None  # of its models, as transformers calls it; None: as they were loaded
    cache: str | None = None  # as transformers calls it; with a static one it compiles its steps on a GPU


def hugging_face(
    expert: LanguageModel,
    prompts: Sequence[Tokens],
    settings: Sequence[Setting],
    batch: int,
    amateur: PreTrainedModel | None = None,
    ways: Ways = Ways(),
) -> Run:
    """`generate`, `batch` prompts at a time, one setting after the other; contrasted where there is an amateur."""
    chunks = [prompts[start : start + batch] for start in range(0, len(prompts), batch)]
    models = [model for model in (expert.model, amateur) if model is not None]

    def run(new_tokens: int) -> Pass:
        with ExitStack() as stack:
            if ways.attention is not None:
                stack.enter_context(attend_as(ways.attention, models))
            for model in models if ways.helped else ():
                stack.enter_context(contiguous_head(model))
            by_setting = [
                [
                    text
                    for chunk in chunks
                    for text in _generate(expert, chunk, setting, new_tokens, amateur, ways.cache)
                ]
                for setting in settings
            ]
        return Pass(tuple(text for of_prompt in zip(*by_setting, strict=True) for text in of_prompt))

    return run


@contextmanager
def contiguous_head(model: PreTrainedModel) -> Iterator[None]:
    """Hand the head of a model a contiguous tensor while the block lasts.

    Hugging Face cuts the last position out of the prompt's hidden states, [row, 1, width] with strides of the whole
    prompt, and torch (2.13, CPU) multiplies such a tensor by copying the head's weights once a row: 0.7 s for 5 rows of
    SmolLM2 in bfloat16, 6.5 s for 40. A ratio should not owe that to anyone.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _head, inputs: (inputs[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()


def naive(expert: LanguageModel, prompts: Sequence[Tokens], setting: Setting) -> Run:
    """The seed experiment's search, re-written from its description.

    No cache: every step reads the whole text again. Beams one after the other. The head, and the exit's head, at all
    positions. Every plausible token of every beam is a candidate in a Python list. Kinder than the seed in two points
    that its texts would suffer from otherwise: scores are float32, and no gradient graph is kept.
    """
    banned = list(banned_tokens(setting.ban, expert.model, expert.tokenizer))

    def run(new_tokens: int) -> Pass:
        return Pass(tuple(_naive_text(expert, prompt, setting, new_tokens, banned) for prompt in prompts))

    return run


def _generate(
    expert: LanguageModel,
    prompts: Sequence[Tokens],
    setting: Setting,
    new_tokens: int,
    amateur: PreTrainedModel | None,
    cache: str | None,
) -> list[Tokens]:
    device = expert.device
    ids = torch.tensor(prompts, dtype=torch.long, device=device)
    banned = list(banned_tokens(setting.ban, expert.model, expert.tokenizer))
    processors = LogitsProcessorList([SuppressTokensLogitsProcessor(banned, device=device)])
    if amateur is not None:
        processors.append(AmateurProcessor(amateur, setting))
    fixed = GenerationConfig(
        num_beams=setting.beams,
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        pad_token_id=0,
        cache_implementation=cache,
    )
    with quiet_transformers():
        sequences = expert.model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=fixed, logits_processor=processors
        )
    return [tuple(row) for row in sequences[:, ids.shape[1] :].tolist()]


@torch.inference_mode()
def _naive_text(
    expert: LanguageModel, prompt: Tokens, setting: Setting, new_tokens: int, banned: Sequence[int]
) -> Tokens:
    beams: list[tuple[Tokens, float]] = [((), 0.0)]
    for _ in range(new_tokens):
        candidates = []
        for text, total in beams:
            scores = _naive_scores(expert, prompt + text, setting, banned)
            plausible = scores.isfinite().nonzero().flatten()
            pairs = zip(plausible.tolist(), scores[plausible].tolist(), strict=True)
            candidates += [((*text, token), total + score) for token, score in pairs]
        beams = sorted(candidates, key=lambda beam: -beam[1])[: setting.beams]
    return beams[0][0]


def _naive_scores(
    expert: LanguageModel, text: Tokens, setting: Setting, banned: Sequence[int]
) -> Float[Tensor, " vocab"]:
    """The objective of every next token, from the logits of all positions."""
    ids = torch.tensor([text], dtype=torch.long, device=expert.device)
    output = expert.model(ids, output_hidden_states=True, use_cache=True)
    (layer,) = setting.amateur.exits
    exit_logits = expert.parts.logits(expert.parts.finish(output.hidden_states[layer]))[0, -1].float()
    log_expert = torch.log_softmax(output.logits[0, -1].float(), dim=-1)
    log_expert[banned] = -math.inf
    if setting.temperature_form is TemperatureForm.softmax:
        log_amateur = torch.log_softmax(exit_logits / setting.temperature, dim=-1)
    else:
        log_amateur = torch.log_softmax(exit_logits, dim=-1) / setting.temperature
    scores = log_expert - setting.beta * log_amateur
    return scores.masked_fill(log_expert < log_expert.max() + math.log(setting.alpha), -math.inf)
