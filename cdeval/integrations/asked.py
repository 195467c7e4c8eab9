"""What `generate` of transformers was asked for, as settings of cdeval's; what they cannot say is refused in words."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from cdeval.config.enums import Ban, Pool, SearchKind
from cdeval.config.schema import SearchConfig
from cdeval.errors import ConfigError

# Settings of GenerationConfig that are read, and those that say nothing of a text or are another mode's.
_LENGTHS = frozenset(("max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_return_sequences"))
_DRAWS = frozenset(("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "eta_cutoff"))
_READ = frozenset(("num_beams", "eos_token_id", "pad_token_id", "return_dict_in_generate")) | _LENGTHS | _DRAWS
_OF_ASSISTANTS = frozenset(("max_matching_ngram_size", "target_lookbehind", "speculation_type"))
_NO_MATTER = _OF_ASSISTANTS | frozenset(
    ("bos_token_id", "decoder_start_token_id", "transformers_version", "disable_compile")
)
_OF_BEAMS = frozenset(("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty"))
_NOTHING: Final[tuple[object, ...]] = (None, False, 0, "", [], {})  # values by which a setting asks for nothing
_NOTHING_ELSE: Final[Mapping[str, object]] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "guidance_scale": 1.0,
    "num_beam_groups": 1,
    "use_cache": True,
}
_INSTEAD: Final = {
    "output_scores": "the scores of every token are in the file of python -m cdeval.trace",
    "stop_strings": "cut the decoded texts, or name a token as eos_token_id",
    "top_h": "it is a rule of plausibility: contrast=Contrast(plausibility='top_h')",
    "repetition_penalty": "contrast is there to avoid repetition; give repetition_penalty=1.0",
}

# What transformers makes of the settings above: the attribute that holds one, and the setting.
_PROCESSORS: Final = {
    "TemperatureLogitsWarper": ("temperature", "temperature"),
    "TopKLogitsWarper": ("top_k", "top_k"),
    "TopPLogitsWarper": ("top_p", "top_p"),
    "MinPLogitsWarper": ("min_p", "min_p"),
    "TypicalLogitsWarper": ("mass", "typical_p"),
    "EtaLogitsWarper": ("epsilon", "eta_cutoff"),
    "MinLengthLogitsProcessor": ("min_length", "min_length"),
    "MinNewTokensLengthLogitsProcessor": ("min_new_tokens", "min_new_tokens"),
}
_PREPARED = frozenset(
    ("attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep", "cache_position")
)


class Asked(NamedTuple):
    """The texts that are to be made."""

    prompts: list[list[int]]  # tokens of each prompt, without padding
    padded: Int[Tensor, "prompt position"]  # the same as they were given
    search: SearchConfig
    ends: tuple[int, ...]  # tokens that end a text
    padding: int  # the token that fills texts up

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.search.kind is SearchKind.sample


def read_asked(
    input_ids: Int[Tensor, "row position"],
    config: GenerationConfig,
    prepared: Mapping[str, Any],
    ban: Ban | None,
    pool: Pool,
) -> Asked:
    """Read what `generate` prepared for a decoding method.

    Args:
        input_ids: each prompt as often as there are beams, or texts of it.
        config: with the lengths that were worked out, and values for all that nobody gave.
        prepared: masks, positions, cache and whatever else the model is called with.
        ban: tokens that are never generated; None: as min_new_tokens says.
        pool: what beam search chooses from.

    Raises: ConfigError: something is asked for that cannot be given.
    """
    beams, texts = config.num_beams or 1, config.num_return_sequences or 1
    padded = input_ids[:: max(beams, texts)]
    mask = prepared.get("attention_mask")
    mask = torch.ones_like(padded) if mask is None else mask[:: max(beams, texts)]
    ends = _tokens(config.eos_token_id)
    ban = _ban(config, padded.shape[1], ban)
    _check_config(config, beams)
    _check_length_penalty(config, ends if ban is Ban.none and beams > 1 else ())
    _check_prepared(prepared, mask)
    search = SearchConfig(
        kind=SearchKind.beam if beams > 1 else SearchKind.greedy,
        beams=beams,
        max_new_tokens=config.max_length - padded.shape[1],
        ban=ban,
        pool=pool,
    )
    if config.do_sample:
        search = _drawn(search, config)
    padding = config.pad_token_id if config.pad_token_id is not None else next(iter(ends), 0)
    return Asked(_without_padding(padded, mask), padded, search, ends, int(padding))


def check_objects(
    processors: LogitsProcessorList | None, criteria: StoppingCriteriaList | None, config: GenerationConfig
) -> None:
    """Refuse processors and criteria that are not those that transformers makes of the settings.

    Raises: ConfigError: names the first.
    """
    for one in processors or ():
        attribute, setting = _PROCESSORS.get(type(one).__name__, ("", ""))
        wanted = getattr(config, setting, None) if setting else None
        if wanted is None or abs(float(getattr(one, attribute)) - wanted) > 1e-6:
            raise ConfigError(
                f"logits_processor: {type(one).__name__} would not be applied: contrast scores tokens by its own rules "
                "(alpha=, contrast=Contrast(plausibility=…)). Leave it out."
            )
    for one in criteria or ():
        name = type(one).__name__
        same = name == "MaxLengthCriteria" and one.max_length == config.max_length
        if name == "EosTokenCriteria":
            same = set(one.eos_token_id.tolist()) == set(_tokens(config.eos_token_id))
        if not same:
            raise ConfigError(
                f"stopping_criteria: {name} would not be asked: a text ends by eos_token_id or max_new_tokens. "
                "Leave it out."
            )


def _check_config(config: GenerationConfig, beams: int) -> None:
    """Check that every setting that asks for something is one that is read. Raises: ConfigError: one is not."""
    if config.do_sample and beams > 1:
        raise ConfigError(f"num_beams={beams} with do_sample=True: a draw goes on with one text. Leave one out.")
    texts = config.num_return_sequences or 1
    if texts > 1 and not config.do_sample:
        raise ConfigError(
            f"num_return_sequences={texts}: there is one best text of a prompt here; for several, give do_sample=True."
        )
    if config.use_cache is False:
        raise ConfigError("use_cache=False: the engine has a cache of its own. Leave use_cache out.")
    for name, value in vars(config).items():
        if name.startswith("_") or name in _READ | _NO_MATTER or name == "length_penalty" or "assistant" in name:
            continue
        if name in _OF_BEAMS and beams == 1:
            continue
        if not any(value is nothing or value == nothing for nothing in (*_NOTHING, _NOTHING_ELSE.get(name))):
            hint = _INSTEAD.get(name, "leave it out")
            raise ConfigError(f"{name}={value!r}: contrastive_generate does not give that; {hint}.")


def _check_length_penalty(config: GenerationConfig, ends: Sequence[int]) -> None:
    """Beams are ranked by summed scores. Raises: ConfigError: another ranking is asked for, and texts may end."""
    if not ends or config.length_penalty == 0:
        return
    if config.length_penalty not in (None, 1.0):
        raise ConfigError(
            f"length_penalty={config.length_penalty}: beams are ranked by the sum of their scores, which may rise as "
            "well as fall. Give length_penalty=0.0."
        )
    warnings.warn(
        "beams that may end are ranked by the sum of their scores, as by length_penalty=0.0, and not by their mean as "
        "transformers ranks them: give length_penalty=0.0 to say that this is meant",
        stacklevel=2,
    )


def _check_prepared(prepared: Mapping[str, Any], mask: Int[Tensor, "prompt position"]) -> None:
    """The prompts' token ids are all that is read. Raises: ConfigError: there is more."""
    for name, value in prepared.items():
        if name not in _PREPARED and value is not None and value is not False:
            raise ConfigError(f"{name}: contrastive_generate reads input_ids and attention_mask alone. Leave it out.")
    cache = prepared.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise ConfigError("past_key_values: prompts are read from their beginning. Leave it out.")
    positions = prepared.get("position_ids")
    usual = (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)
    if positions is not None and not all(bool((usual == row).all(dim=-1).any()) for row in positions.to(usual.device)):
        raise ConfigError("position_ids: a prompt's tokens have the positions 0, 1, 2, … here. Leave it out.")


def _without_padding(padded: Int[Tensor, "prompt position"], mask: Int[Tensor, "prompt position"]) -> list[list[int]]:
    """The tokens of each prompt. Raises: ConfigError: padding stands elsewhere than on the left."""
    found = []
    for place, (tokens, own) in enumerate(zip(padded.tolist(), mask.tolist(), strict=True)):
        count = sum(map(bool, own))
        if count == 0 or not all(own[-count:]):
            where = "hides all of" if count == 0 else "hides tokens inside or at the end of"
            raise ConfigError(
                f"attention_mask {where} prompt {place}: padding stands on the left of a prompt that is continued. "
                "Tokenise with padding_side='left', and give every prompt a token."
            )
        found.append(tokens[-count:])
    return found


def _ban(config: GenerationConfig, length: int, given: Ban | None) -> Ban:
    """The tokens that are never generated. Raises: ConfigError: texts are to end between two lengths."""
    least, most = (config.min_length or 0) - length, config.max_length - length
    if given is not None and given is not Ban.none:
        return given
    if least <= 0:
        return Ban.none
    if least < most or given is Ban.none:
        raise ConfigError(
            f"min_new_tokens={least} with max_new_tokens={most}: texts have all one length here, which "
            "min_new_tokens=max_new_tokens asks for, or may end anywhere. Make them equal, or leave min_new_tokens out."
        )
    return Ban.eos


def _drawn(search: SearchConfig, config: GenerationConfig) -> SearchConfig:
    """The settings of a draw, in which transformers has numbers that narrow nothing where cdeval has none."""
    search.kind, search.samples = SearchKind.sample, config.num_return_sequences or 1
    search.temperature = 1.0 if config.temperature is None else float(config.temperature)
    search.top_k = config.top_k or None
    search.top_p = None if config.top_p in (None, 1.0) else config.top_p
    search.typical_p = None if config.typical_p in (None, 1.0) else config.typical_p
    search.min_p, search.eta = config.min_p or None, config.eta_cutoff or None
    return search


def _tokens(given: Any) -> tuple[int, ...]:
    """Ids of tokens, of which there may be one, several or none."""
    if given is None:
        return ()
    ids = given.tolist() if isinstance(given, Tensor) else given
    return tuple(sorted({int(one) for one in (ids if isinstance(ids, list | tuple) else [ids])}))
