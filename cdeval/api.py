"""Python functions that load, decode, score, trace, and look into layers, without Hydra.

    from cdeval.api import Contrast, Search, decode, load, score

    expert = load()                                    # SmolLM2-135M; load("gpt2"); load(model, tokenizer)
    prompts = ["The river had been rising all night, and by morning"]
    search = Search("beam", max_new_tokens=64)
    arms = {
        "early exit": decode(expert, prompts, amateur=0.87, contrast=Contrast(alpha=0.3), search=search),
        "expert alone": decode(expert, prompts, search=search),
    }
    print(arms["early exit"][0].continuation)
    print(score(arms, expert, metrics=["diversity"]).to_pandas())

`Contrast` and `Search` are the groups of `conf/` of the same names, with the same defaults, rules and messages; a
choice is given by its name: `Search("nucleus")`. A mistake in a value raises `CdevalError` and nothing else.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cdeval.config.enums import Ban, DiversityProtocol, Dtype, PromptSource, SearchKind, Split
from cdeval.config.exits import Lens, check_depth
from cdeval.config.fields import check_values
from cdeval.config.python import SearchByKind as Search
from cdeval.config.schema import AUTO, ExecutionConfig, ExpertConfig, PromptsConfig
from cdeval.config.schema import ContrastConfig as Contrast
from cdeval.decode.plausibility.callable import Rule, rule_of
from cdeval.decode.token_weight import CallableGate, gate_lent
from cdeval.decode.trace import trace_text
from cdeval.errors import ConfigError
from cdeval.lens.trajectory import trajectory, views_of
from cdeval.metrics.suite import Scored
from cdeval.models.loading import LanguageModel, language_model, open_model
from cdeval.models.vocabulary import check_rows
from cdeval.prompts.load import load_prompts
from cdeval.records import Generation, Generations, Prompt, Trace, Trajectory
from cdeval.study.arguments import (
    callback_of,
    choice,
    language_model_of,
    lens_of,
    loaded_model,
    model_name,
    path_of,
    settings,
    whole_number,
    whole_numbers,
)
from cdeval.study.decode_call import Amateur, continue_prompts, decode_call
from cdeval.study.score_call import score_call

LensName: TypeAlias = str | os.PathLike[str] | Lens

__all__ = [
    "Ban",
    "Contrast",
    "Lens",
    "Search",
    "SearchKind",
    "decode",
    "layers",
    "load",
    "prompts_from",
    "score",
    "trace",
]


def load(
    model: str | os.PathLike[str] | PreTrainedModel = "embedded:smollm2",
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    dtype: str | Dtype = "auto",
    device: str = "auto",
    revision: str | None = None,
) -> LanguageModel:
    """Load a model to decode with.

    Args:
        model: a hub id, a folder, `embedded:smollm2` or `embedded:gemma3`, or a Hugging Face causal language model that
            is loaded already.
        tokenizer: the tokenizer of a loaded model.
        dtype: auto, float32, bfloat16 or float16; a loaded model keeps its own.
        device: auto, cpu, cuda, …; a loaded model stays where it is.
        revision: a commit of a hub id.

    A loaded model is the caller's: while it decodes it has another attention, and is as it was afterwards.

    Raises:
        ModelError: it cannot be found, read or decoded with, such as a model without a language modelling head.
        ConfigError: there is no such dtype, or a loaded model comes without its tokenizer or is asked to be another.
    """
    if isinstance(model, str | os.PathLike):
        if tokenizer is not None:
            raise ConfigError(f"load({str(model)!r}) reads the tokenizer beside the weights: leave tokenizer out.")
        number_format = choice("dtype", dtype, Dtype)
        asked = ExpertConfig(name=os.fspath(model), revision=revision, dtype=number_format, device=device)
        return open_model(settings("load", asked, ExpertConfig)).load()
    wanted = {"dtype": dtype.name if isinstance(dtype, Dtype) else dtype, "device": device, "revision": revision}
    loaded = loaded_model(model, tokenizer, wanted)
    found = language_model(loaded, tokenizer, model_name(loaded))
    check_rows(found.vocabulary)
    return found


def prompts_from(
    source: str | os.PathLike[str],
    expert: LanguageModel,
    *,
    limit: int | None = 64,
    max_new_tokens: int = 128,
    split: str | Split = "test",
    seed: int = 0,
) -> list[Prompt]:
    """Read prompts with human references, as a study takes them.

    Args:
        source: news, wiki, news_wiki, speeches, wikitext103, ccnews, or a JSON or JSONL file.
        expert: the model whose tokens are counted.
        limit: the largest number of prompts; None: all of them.
        max_new_tokens: length of the references [tokens].
        split: test, tune or all.
        seed: chooses among the prompts.

    Raises:
        PromptError: there are none.
        ConfigError: no such source or split.
        AssetError, HubError: they are not here.
    """
    known = [name for name in PromptSource.__members__ if name != PromptSource.file.name]
    wanted = choice("split", split, Split)
    language_model_of("expert", expert)
    tokens, seed = whole_number("max_new_tokens", max_new_tokens, 1), whole_number("seed", seed, 0)
    name = path_of("source", source)
    if name in known:
        config = PromptsConfig(PromptSource[name], limit=limit, split=wanted)
    elif Path(name).suffix in (".json", ".jsonl"):
        config = PromptsConfig(PromptSource.file, path=name, limit=limit)
    else:
        raise ConfigError(f"source={source}: expected one of {', '.join(known)}, or a .json or .jsonl file.")
    check_values(config)
    return list(load_prompts(config, expert.tokenizer, tokens, seed).prompts)


def decode(  # noqa: PLR0913 - named arguments, all with a default
    expert: LanguageModel,
    prompts: Sequence[str | Prompt],
    *,
    amateur: Amateur = None,
    lens: LensName = "linear",
    contrast: Contrast | None = None,
    rule: Rule | None = None,
    gate: CallableGate | None = None,
    search: Search | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    max_lanes: int | str = AUTO,
    on_step: Callable[[int], None] = lambda _tokens: None,
) -> Generations:
    """Continue prompts by contrastive decoding, or by the expert alone.

    Args:
        expert: the strong model.
        prompts: texts, used whole, or prompts with references.
        amateur: None for the expert alone; a number for its own exit after so many blocks, or after a fraction of
            them; another model of the same vocabulary; the name of a kind, as pruned or noise, or of a plug-in's.
        lens: how an exit is read: linear (fitted to the tuning split of the embedded texts, once), norm, raw, or the
            file of a tuned lens.
        contrast: α, β, T and so on, as in `conf/contrast`.
        rule: a rule of plausibility of your own, in place of α: a callable of the expert's log-probabilities
            [lane, beam, vocab] (float32, nats; tokens that are banned at -inf), which returns a mask of the same shape
            (torch.bool), True where a token may be chosen. Whatever it says, the likeliest token of a row may.
        gate: where something is subtracted: a callable of the expert's log-probabilities, as above, and the amateur's
            logits, both [lane, beam, vocab], which returns torch.bool [lane, beam]; elsewhere the expert alone scores.
        search: how to search, as in `conf/search`.
        settings: of a named amateur and of plug-ins, as a command takes them: {"amateur.left_out": [11, 12]}.
        seed: of the draws of sampling.
        max_lanes: prompts in one forward pass; auto: as many as fit in the free memory.
        on_step: called after every step with the number of new tokens.

    Returns:
        The continuations in the order of the prompts, all samples of one together; `to_pandas()` makes a table of them.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: a layer outside the expert, other vocabularies, texts too long, memory too short.
        PromptError: a prompt without tokens.
    """
    if max_lanes != AUTO:
        whole_number("max_lanes", max_lanes, 1)
    with rule_of(rule, contrast) as masked, gate_lent(gate, masked) as gated:
        call = decode_call(
            expert, prompts, amateur=amateur, lens=lens, contrast=gated, search=search, seed=seed, own=settings
        )
        return continue_prompts(expert, call, ExecutionConfig(max_lanes=max_lanes), callback_of("on_step", on_step))


def score(  # noqa: PLR0913 - named arguments, all with a default
    arms: Mapping[str, Sequence[Generation] | Sequence[str]],
    scorer: LanguageModel | None = None,
    *,
    prompts: Sequence[str | Prompt] | None = None,
    references: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
    against: str | None = None,
    diversity: str | DiversityProtocol = "corrected",
    seed: int = 0,
) -> Scored:
    """Score arms beside the human references, where their prompts have some, and compare them.

    Args:
        arms: by label, what `decode` returns over the same prompts, or texts of anybody's, one a prompt.
        scorer: the model that wrote the texts, for MAUVE, perplexity and log-likelihood coherence. Texts whose tokens
            are another model's are read as the scorer tokenises them.
        prompts: of arms of texts, in the same order. Without any, metrics that read the prompt have no value.
        references: how people went on, of arms of texts; None: those of the prompts, where they have some.
        metrics: names; none: all. Without a scorer, all that need none: diversity, coherence, words, ….
        against: the arm that the others are compared with; None: the last one.
        diversity: how n-grams are counted: corrected or published.
        seed: of resamples and k-means.

    Returns:
        `scores` by arm and metric, each with its interval; paired `comparisons`; MAUVE's `curves`; `failures` of
            metrics of plug-ins, each with a warning. `to_pandas()` makes a table of the scores.

    Raises:
        ConfigError: no such metric or arm, or one that needs a scorer without one.
        AssetError, HubError: the sentence embedder is not here.
        TextsError: an id stands for different prompts, or a special token stands inside a text without token ids; from
            the ends of such texts they are taken away, with a warning.
    """
    return score_call(
        arms,
        scorer,
        prompts=prompts,
        references=references,
        metrics=metrics,
        against=against,
        diversity=diversity,
        seed=seed,
    )


def trace(  # noqa: PLR0913 - named arguments, all with a default
    expert: LanguageModel,
    prompt: str | Prompt,
    *,
    amateur: Amateur = None,
    lens: LensName = "linear",
    contrast: Contrast | None = None,
    rule: Rule | None = None,
    gate: CallableGate | None = None,
    search: Search | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    candidates: int = 8,
) -> Trace:
    """Continue one prompt and keep the scores of every step: `cdeval.trace.page` shows them.

    The arguments are those of `decode`; of the expert's likeliest tokens `candidates` are kept at each step.

    Raises:
        CdevalError: as `decode`, or the search is contrastive search.
    """
    whole_number("candidates", candidates, 1)
    with rule_of(rule, contrast) as masked, gate_lent(gate, masked) as gated:
        call = decode_call(
            expert, [prompt], amateur=amateur, lens=lens, contrast=gated, search=search, seed=seed, own=settings
        )
        return trace_text(expert, call.prompts[0], call.setting, call.amateur_models, candidates=candidates)


def layers(
    expert: LanguageModel, prompt: str, *, lens: LensName = "norm", blocks: Sequence[int] | None = None
) -> Trajectory:
    """Read which tokens each layer predicts after each token of a prompt: `cdeval.lens.page` draws them.

    Args:
        expert: the model.
        prompt: any text.
        lens: how layers are read: norm, raw, linear (fitted to the embedded texts), or the file of a tuned lens.
        blocks: the numbers of blocks after which to read; None: all, or those that the tuned lens has.

    Raises:
        PromptError: the prompt yields no tokens.
        ModelError: no such layer, or the lens is another expert's.
    """
    language_model_of("expert", expert)
    if not isinstance(prompt, str):
        raise ConfigError("prompt: expected a text, as layers(expert, 'a text').")
    lens, blocks = lens_of(lens), None if blocks is None else whole_numbers("blocks", blocks)
    for block in blocks or ():
        check_depth(expert.parts.depth, block, expert.name, "blocks")
    return trajectory(expert, prompt, views_of(expert, lens, blocks))
