"""The linear lens of a study: fitted while the study opens, in one pass for all of its layers, and kept in the cache.

    <cache>/lenses/<digest>/layer.<k>.safetensors     a lens file of one layer; may be deleted at any time

The digest names everything that shapes a translator and nothing else: the expert and its number format, the tokens that
are read, the weighting and the ridge. It is also how a study's texts know the lens. Fits of two machines differ by
rounding, as the expert's own numbers do, so that the translators' bits tell no texts apart.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from cdeval.config.amateur import Amateur
from cdeval.config.enums import PromptSource, Split, Weights
from cdeval.config.exits import Lens
from cdeval.config.labels import layers_name
from cdeval.config.schema import PromptsConfig, RunConfig
from cdeval.errors import CdevalError, ModelError, StorageError
from cdeval.lens.config import RIDGE, FitMethod, Weighting
from cdeval.lens.least_squares import WINDOW_TOKENS, check_positions, least_squares
from cdeval.lens.reading import cut, stream
from cdeval.models.lens import Translator, TunedLens, read_lens, to_bytes, tuned_lens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.items import Text
from cdeval.prompts.load import texts_to_learn_from, whole_texts
from cdeval.records import Prompt, document_of
from cdeval.store.files import replace_file
from cdeval.store.hashing import cache_folder

RECIPE = "cdeval linear lens 1"  # changes whenever the same texts make another lens
TEXT_TOKENS = 1024  # of each text, as far as its source reads no further than needed
# Beyond so many positions for each coordinate of a block's output, windows are left out, evenly: reading twice as many
# takes twice as long, and lowers the divergence by a few per cent at most.
MOST_A_COORDINATE = 64

Say = Callable[[str], None]


def linear_lenses(
    amateurs: Collection[Amateur], config: RunConfig, expert: LanguageModel, used: Collection[str], say: Say
) -> dict[Amateur, TunedLens | CdevalError]:
    """The linear lenses of some amateurs, each layer fitted once.

    Args:
        amateurs: each reads layers through a linear lens.
        config: of any setting of the study.
        expert: loaded; the plain layout of weights is faster here than the packed one.
        used: ids of the prompts.
        say: takes one line of progress at a time.

    Returns: by amateur: the lens, or why there is none.
    """
    found: dict[Amateur, TunedLens | CdevalError] = {}
    for own in dict.fromkeys(amateur.lens_texts for amateur in amateurs):
        mine = [amateur for amateur in amateurs if amateur.lens_texts == own]
        layers = sorted({layer for amateur in mine for layer in amateur.exits})
        if config.expert.weights is Weights.random:  # perhaps shapes alone, of which there is no digest
            nothing = _without_weights(expert, layers)
            found |= {amateur: nothing.for_layers(amateur.exits) for amateur in mine}
            continue
        try:
            lens = linear_lens(expert, *texts_to_learn_from(config.prompts, used, own, TEXT_TOKENS), layers, say)
        except CdevalError as error:
            found |= dict.fromkeys(mine, error)
            continue
        digests = {layer: tuned_lens({layer: one}, {}).digest for layer, one in lens.translators.items()}
        for amateur in mine:
            bits = {"translators": json.dumps({layer: digests[layer] for layer in amateur.exits})}
            found[amateur] = replace(lens.for_layers(amateur.exits), facts={**lens.facts, **bits})
    return found


def linear_lens(
    expert: LanguageModel, texts: Sequence[Text], source: str, layers: Collection[int], say: Say
) -> TunedLens:
    """The translators of some layers: from the cache, or fitted in one pass and kept there.

    Args:
        expert: loaded.
        texts: to fit it to.
        source: what they are called.
        layers: numbers of blocks.
        say: takes one line of progress at a time.

    Raises: ModelError, PromptError: as `least_squares`.
    """
    read = _windows(texts, expert)
    facts = {
        "expert": expert.name,
        "revision": str(expert.revision),
        "fingerprint": expert.fingerprint,
        "dtype": expert.dtype_name,
        "method": FitMethod.least_squares.value,
        "weighting": Weighting.direction.value,
        "ridge": f"{RIDGE:g}",
        "texts": source,
        "text_ids": json.dumps([text.id for text in texts]),
        "tokens": str(read.numel()),
    }
    recipe = _recipe(expert, read)
    found = kept(recipe, layers, expert, say)
    missing = sorted(set(layers) - set(found))
    if missing:
        say(
            f"fitting the linear lens of layer {layers_name(missing)} on {read.numel()} tokens of {len(texts)} texts "
            f"from {source}"
        )
        fitted = least_squares(expert, read, missing, say=say)
        _keep(recipe, fitted, facts, say)
        found |= fitted
    return TunedLens(found, facts, recipe)


def embedded_lens(expert: LanguageModel, layers: Collection[int], used: Collection[str] = ()) -> TunedLens:
    """The linear lens of some layers where no study says which texts are free: fitted to the embedded texts.

    Args: used: ids of prompts. The tuning split is read, or the test split where a prompt is of the tuning split.

    Raises: ModelError, PromptError: as `least_squares`. AssetError: the texts cannot be fetched.
    """
    tuning = PromptsConfig(PromptSource.news_wiki, split=Split.tune)
    seen = {text.id for text in whole_texts(tuning, Split.tune, TEXT_TOKENS)} & set(map(document_of, used))
    prompts = tuning if seen else replace(tuning, split=Split.test)
    return linear_lens(expert, *texts_to_learn_from(prompts, (), None, TEXT_TOKENS), layers, lambda _line: None)


def fitted_lens(expert: LanguageModel, amateur: Amateur, prompts: Sequence[Prompt]) -> dict[Amateur, TunedLens]:
    """The linear lens of an amateur by `embedded_lens`, if it reads one. Raises: CdevalError: as there."""
    if amateur.lens is not Lens.linear:
        return {}
    return {amateur: embedded_lens(expert, amateur.exits, [prompt.id for prompt in prompts])}


def kept(recipe: str, layers: Collection[int], expert: LanguageModel, say: Say) -> dict[int, Translator]:
    """The translators of a linear lens that are in the cache, of these layers; damaged ones are not."""
    found = {}
    for layer in sorted(set(layers)):
        path = _path(recipe, layer)
        if path.is_file():
            try:
                lens = read_lens(path, [layer], int(expert.model.config.hidden_size))
                found[layer] = lens.on(expert).translators[layer]
            except ModelError as error:
                say(f"{str(error).partition(': ')[0]}, and is fitted again")
    return found


def _keep(recipe: str, translators: Mapping[int, Translator], facts: Mapping[str, str], say: Say) -> None:
    """Put fitted layers into the cache, a whole file at a time: a process that is killed leaves none or all of one."""
    try:
        for layer, translator in translators.items():
            replace_file(_path(recipe, layer), to_bytes(tuned_lens({layer: translator}, facts)))
    except StorageError as error:
        say(f"the linear lens is not kept, and is fitted again next time: {error}")


def _path(recipe: str, layer: int) -> Path:
    return cache_folder() / "lenses" / recipe / f"layer.{layer}.safetensors"


def _recipe(expert: LanguageModel, read: Int[Tensor, "window position"]) -> str:
    """SHA-256 of everything that shapes the translators."""
    facts = [RECIPE, expert.fingerprint, expert.dtype_name, Weighting.direction.value, RIDGE, list(read.shape)]
    return hashlib.sha256(json.dumps(facts).encode() + read.to(torch.int64).numpy().tobytes()).hexdigest()


def _windows(texts: Sequence[Text], expert: LanguageModel) -> Int[Tensor, "window position"]:
    """The texts in windows that the expert can read, and no more of them than bring something.

    Raises: PromptError: too few positions for the width.
    """
    config = expert.model.config
    width = int(config.hidden_size)
    tokens = stream([text.text for text in texts], expert.tokenizer)
    check_positions(len(tokens), width, expert.name)
    size = min(WINDOW_TOKENS, getattr(config, "max_position_embeddings", WINDOW_TOKENS), len(tokens))
    found = cut(tokens, size)
    most = -(-MOST_A_COORDINATE * width // size)
    return found if len(found) <= most else found[torch.linspace(0, len(found) - 1, most).long()]


def _without_weights(expert: LanguageModel, layers: Collection[int]) -> TunedLens:
    """A lens that adds nothing, at the price of every other one: for random weights, which are timed and priced."""
    width, device = int(expert.model.config.hidden_size), expert.device
    nothing = {
        k: Translator(torch.zeros(width, width, device=device), torch.zeros(width, device=device)) for k in layers
    }
    return TunedLens(nothing, {"fingerprint": expert.fingerprint}, "random weights")
