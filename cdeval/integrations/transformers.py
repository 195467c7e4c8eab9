"""Contrastive decoding by cdeval's engine, inside `generate` of transformers.

    from cdeval.integrations.transformers import contrastive_generate

    inputs = tokenizer(["The river had", "By morning"], return_tensors="pt", padding=True, padding_side="left")
    model.generate(**inputs, custom_generate=contrastive_generate, tokenizer=tokenizer, amateur=0.8, max_new_tokens=64)

It takes num_beams, do_sample, temperature, top_k, top_p, lengths, end tokens, … from GenerationConfig, and returns what
`generate` returns: token ids of prompts and continuations, or an output that holds them. What it cannot give is refused
by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)
from transformers.generation import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

from cdeval.config.enums import Ban, Pool, SearchKind, TemperatureForm
from cdeval.config.exits import Lens
from cdeval.config.schema import MOST_SEED
from cdeval.config.schema import ContrastConfig as Contrast
from cdeval.decode.lanes import Continuation
from cdeval.errors import ConfigError
from cdeval.integrations.asked import Asked, check_objects, read_asked
from cdeval.integrations.opened import dropped_arguments, open_given
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Prompt
from cdeval.study.arguments import choice, kind_name, lens_of, whole_number
from cdeval.study.decode_call import continuations, decode_call

# The exit after so many blocks or a share of them, another model, or the name of a kind; None: the expert alone.
Amateur: TypeAlias = int | float | str | PreTrainedModel | LanguageModel | None

__all__ = ["Contrast", "contrastive_generate"]


def contrastive_generate(  # noqa: PLR0913 - named arguments, all with a default
    model: PreTrainedModel,
    input_ids: Int[Tensor, "row position"],
    logits_processor: LogitsProcessorList | None = None,
    stopping_criteria: StoppingCriteriaList | None = None,
    generation_config: GenerationConfig | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    amateur: Amateur = None,
    lens: str | Lens = "linear",
    alpha: float = 0.3,
    beta: float = 1.0,
    amateur_temperature: float = 0.5,
    temperature_form: str | TemperatureForm = "softmax",
    contrast: Contrast | None = None,
    settings: Mapping[str, object] | None = None,
    ban: str | Ban | None = None,
    pool: str | Pool = "all",
    seed: int | None = None,
    prompt_ids: Sequence[str] | None = None,
    **model_kwargs: Any,
) -> Int[Tensor, "text position"] | GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput:
    """Continue prompts by contrastive decoding: `model.generate(…, custom_generate=contrastive_generate, …)`.

    Args:
        model: of transformers, of a known architecture.
        input_ids: as `generate` prepares them; prompts of unequal length are padded on the left.
        logits_processor: as `generate` prepares them: others are refused.
        stopping_criteria: likewise.
        generation_config: likewise; what it asks for and cannot be given is refused.
        tokenizer: of the model.
        amateur: None for the expert alone; a number for its own exit after so many blocks, or after a fraction of
            them; another model of the same vocabulary; the name of a kind, as pruned or noise.
        lens: how an exit is read: linear (fitted to the embedded texts, once), norm, raw, or the file of a tuned lens.
        alpha: plausibility, p >= alpha * max p.
        beta: weight of the amateur's log-probability.
        amateur_temperature: of the amateur; `temperature` is that of the draw, as everywhere in `generate`.
        temperature_form: softmax or logprob.
        contrast: all settings of the contrast, in place of these four.
        settings: of a named amateur, as a command takes them: {"amateur.left_out": [11, 12]}.
        ban: tokens that are never generated: special, eos, none or free; None: none, and eos where min_new_tokens is
            max_new_tokens.
        pool: what beam search chooses from: all or local.
        seed: of the draws of sampling, which then are those of a study; None: drawn from torch's random numbers.
        prompt_ids: a name of each prompt, to which its draws belong; None: prompt-0, prompt-1, ….
        **model_kwargs: the attention_mask that hides padding, and what `generate` prepares beside it.

    Returns:
        Token ids, padded on the right, of the texts in the order of the prompts; with return_dict_in_generate the
            output of that search, which holds them, and of beam search the summed scores.

    Raises:
        ConfigError: a setting is out of range, or is none that can be given.
        ModelError: as `cdeval.api.decode`.
    """
    if generation_config is None:
        raise ConfigError("contrastive_generate is called by generate: model.generate(…, custom_generate=…).")
    tokenizer = _with_tokenizer(tokenizer)
    banned = None if ban is None else choice("ban", ban, Ban)
    asked = read_asked(input_ids, generation_config, model_kwargs, banned, choice("pool", pool, Pool))
    check_objects(logits_processor, stopping_criteria, generation_config)
    contrast = _contrast(contrast, alpha, beta, amateur_temperature, temperature_form)
    exits = isinstance(amateur, int | float) and lens_of(lens) not in (Lens.norm.name, Lens.raw.name)
    expert, known = open_given(model, tokenizer, asked.ends, identified=exits or isinstance(amateur, str))
    if isinstance(amateur, PreTrainedModel):
        amateur, _ = open_given(amateur, tokenizer, None, identified=False)
    if seed is None:
        seed = int(torch.randint(MOST_SEED, ())) if asked.draws else 0
    call = decode_call(
        expert,
        _prompts(asked, tokenizer, prompt_ids),
        amateur=amateur,
        lens=lens,
        contrast=contrast,
        search=asked.search,
        seed=whole_number("seed", seed, 0),
        own=settings,
        lenses=known.lenses if prompt_ids is None else {},  # a lens is fitted to texts that are no prompts
    )
    read = call.amateur_models.get(call.setting.amateur)
    if isinstance(read, TunedLens) and call.setting.amateur.lens is Lens.linear and prompt_ids is None:
        known.lenses[call.setting.amateur] = read
    return _returned(asked, generation_config, continuations(expert, call))


def _with_tokenizer(given: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """Find the tokenizer of the call. Raises: ConfigError: there is none, or something in the call gets lost."""
    dropped = dropped_arguments()
    for name in ("streamer", "assistant_model"):
        if dropped.get(name) is not None:
            raise ConfigError(f"{name}: contrastive_generate does not give that. Leave it out.")
    tokenizer = given if given is not None else dropped.get("tokenizer")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        got = "" if tokenizer is None else f"; got {kind_name(tokenizer)}"
        raise ConfigError(
            f"contrastive_generate needs the model's tokenizer: model.generate(…, tokenizer=tokenizer){got}. Where it "
            "does not arrive, custom_generate=functools.partial(contrastive_generate, tokenizer=tokenizer)."
        )
    return tokenizer


def _contrast(
    given: Contrast | None, alpha: float, beta: float, temperature: float, form: str | TemperatureForm
) -> Contrast:
    """The settings of the contrast. Raises: ConfigError: they are given in both ways."""
    form = choice("temperature_form", form, TemperatureForm)
    named = Contrast(alpha=alpha, beta=beta, temperature=temperature, temperature_form=form)
    if given is not None and named != Contrast():
        raise ConfigError(
            "contrast=Contrast(…) stands in place of alpha, beta, amateur_temperature and temperature_form: give them "
            "inside it, as Contrast(alpha=0.1, temperature=0.5)."
        )
    return named if given is None else given


def _prompts(asked: Asked, tokenizer: PreTrainedTokenizerBase, names: Sequence[str] | None) -> list[Prompt]:
    """The prompts with their names. Raises: ConfigError: not one name a prompt."""
    names = [f"prompt-{place}" for place in range(len(asked.prompts))] if names is None else names
    if isinstance(names, str) or len(names) != len(asked.prompts) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"prompt_ids={names!r}: expected a list of {len(asked.prompts)} texts, one a prompt.")
    codec = TextCodec(tokenizer)
    return [
        Prompt(name, codec.prompt_text(ids), tuple(ids), None, None)
        for name, ids in zip(names, asked.prompts, strict=True)
    ]


def _returned(asked: Asked, config: GenerationConfig, answers: Sequence[Continuation]) -> Any:
    """What `generate` returns."""
    texts = [[*one.token_ids, *([] if one.end_token is None else [one.end_token])] for one in answers]
    longest = max(map(len, texts))
    filled = [[*text, *[asked.padding] * (longest - len(text))] for text in texts]
    new = torch.tensor(filled, dtype=asked.padded.dtype, device=asked.padded.device).reshape(len(texts), longest)
    before = asked.padded.repeat_interleave(len(texts) // len(asked.prompts), dim=0)
    sequences = torch.cat([before, new], dim=1)
    if not config.return_dict_in_generate:
        return sequences
    if asked.search.kind is SearchKind.beam:
        scores = torch.tensor([one.score for one in answers], device=sequences.device)
        return GenerateBeamDecoderOnlyOutput(sequences=sequences, sequences_scores=scores)
    return GenerateDecoderOnlyOutput(sequences=sequences)
