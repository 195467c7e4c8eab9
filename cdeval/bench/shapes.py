"""The group `shapes`: the decoders at the shapes of other models, one prompt and many, with random weights.

What decoding takes does not depend on what weights say, so models that cannot be had are timed all the same. Their
texts mean nothing, and nobody compares them. One thing does depend on them: beams of random weights hardly share a
past, so the engine's caches are longer than in use. `generate` runs as transformers brings it, with its own attention.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from cdeval.bench.arms import BF16, ONE, Arms, BenchSearch, Size
from cdeval.bench.config import BenchConfig, BenchRun
from cdeval.bench.limits import Limits
from cdeval.bench.models import Models
from cdeval.bench.peers import Ways
from cdeval.bench.plan import BenchArm, BenchGroup
from cdeval.config.enums import Compile, Weights
from cdeval.config.pairs import names_of
from cdeval.config.schema import AmateurConfig, ExpertConfig
from cdeval.models.anatomy import check_length
from cdeval.models.loading import OpenedModel, open_model
from cdeval.models.shapes import random_prompts
from cdeval.models.vocabulary import Vocabulary, check_same_vocabulary

EXIT = 0.8  # of the blocks; wherever an exit is, it takes the same time
FIRST = 0.25  # of the blocks, which are the small model of an expert without one

_BEAM = (BenchSearch.plain, BenchSearch.contrast, BenchSearch.small)
_GREEDY = (BenchSearch.greedy, BenchSearch.greedy_contrast, BenchSearch.greedy_small)
_AS_IT_COMES = Ways(helped=False, attention="sdpa")
_STATIC = replace(_AS_IT_COMES, cache="static")


@dataclass(frozen=True, slots=True)
class Shape:
    """One pair of models."""

    name: str  # of the expert, without a folder
    arms: Arms


def open_shapes(config: BenchRun, limits: Limits, folder: Path) -> list[Shape]:
    """Open the pairs of `bench.pairs`; their weights are made when an arm first needs them.

    Raises: ModelError: there is no such architecture, or the amateur has another vocabulary than its expert.
    """
    return [_open(config, pair, limits, folder) for pair in config.bench.pairs]


def _open(config: BenchRun, pair: str, limits: Limits, folder: Path) -> Shape:
    bench, (name, second) = config.bench, names_of(pair)
    expert = _shape(config, name)
    small: OpenedModel | None = None
    if second is not None:
        small = _shape(config, second)
        check_same_vocabulary(*(Vocabulary(one.name, one.tokenizer, one.config.vocab_size) for one in (expert, small)))
    tokens = config.prompts.prompt_tokens
    for one in filter(None, (expert, small)):
        check_length(one.config, tokens, bench.new_tokens, one.name)
    depth = expert.config.num_hidden_layers
    layer = max(1, min(round(EXIT * depth), depth - 1))
    own = replace(config, amateur=AmateurConfig("early_exit", layer))
    prompts = random_prompts(expert.config, expert.tokenizer, bench.shape_prompts, tokens, config.seed)
    models = Models(expert, layer, folder, small or max(1, round(FIRST * depth)))
    return Shape(Path(name).name, Arms(own, models, [prompt.token_ids for prompt in prompts], limits))


def _shape(config: BenchRun, name: str) -> OpenedModel:
    return open_model(ExpertConfig(name, device=config.expert.device, weights=Weights.random), "bench.pairs")


def shape_groups(shapes: list[Shape], bench: BenchConfig) -> list[BenchGroup]:
    """The groups of all shapes: what is compiled, and may take long or fail, comes last, fewest blocks first."""
    sizes = [ONE, *([Size(prompts=bench.shape_prompts)] if bench.shape_prompts > 1 else [])]
    plain = [group for shape in shapes for size in sizes for group in _plain(shape, size, bench)]
    short = sorted(shapes, key=lambda shape: int(shape.arms.models.opened.config.num_hidden_layers))
    return [*plain, *(one(shape, bench) for shape in short for one in (_static, _greedy_program, _beam_program))]


def _plain(shape: Shape, size: Size, bench: BenchConfig) -> list[BenchGroup]:
    arms, many = shape.arms, "one prompt" if size is ONE else f"{size.prompts} prompts at once"
    peers = [arms.hugging_face(BenchSearch.plain, BF16, size, _AS_IT_COMES)]
    if size is ONE:
        peers.append(arms.hugging_face(BenchSearch.small, BF16, size, _AS_IT_COMES))
    beam = [*peers, *(arms.ours(search, BF16, size) for search in _BEAM)]
    greedy = [arms.hugging_face(BenchSearch.greedy, BF16, size, _AS_IT_COMES)]
    greedy += [arms.ours(search, BF16, size) for search in _GREEDY]
    return [
        _group(shape, f"beam_{size.prompts}", f"{many}, {bench.beams} beams", beam, bench),
        _group(shape, f"greedy_{size.prompts}", f"{many}, greedy", greedy, bench),
    ]


def _static(shape: Shape, bench: BenchConfig) -> BenchGroup:
    """Time greedy `generate` with a static cache, for which transformers compiles its steps on a GPU."""
    plain, static = (shape.arms.hugging_face(BenchSearch.greedy, BF16, ONE, how) for how in (_AS_IT_COMES, _STATIC))
    arms = [plain, replace(static, label=f"{static.label}, static cache")]
    return _compiling(_group(shape, "static", "one prompt, greedy, generate with a static cache", arms, bench))


def _greedy_program(shape: Shape, bench: BenchConfig) -> BenchGroup:
    """Time the engine's greedy steps as one program each."""
    peer = shape.arms.hugging_face(BenchSearch.greedy, BF16, ONE, _AS_IT_COMES)
    arms = [peer, *_programs(shape, BenchSearch.greedy_contrast)]
    return _compiling(_group(shape, "greedy_compiled", "one prompt, greedy, steps that are one program", arms, bench))


def _beam_program(shape: Shape, bench: BenchConfig) -> BenchGroup:
    """Time the engine's steps of beam search as one program each, for which a text passes several sizes of caches."""
    peer = shape.arms.hugging_face(BenchSearch.plain, BF16, ONE, _AS_IT_COMES)
    arms = [peer, *_programs(shape, BenchSearch.contrast)]
    title = f"one prompt, {bench.beams} beams, steps that are one program"
    return _compiling(_group(shape, "beam_compiled", title, arms, bench))


def _programs(shape: Shape, search: BenchSearch) -> list[BenchArm]:
    return [shape.arms.ours(search, BF16, compiling=how) for how in (Compile.never, Compile.always)]


def _compiling(group: BenchGroup) -> BenchGroup:
    return replace(group, compiles=True)


def _group(shape: Shape, name: str, title: str, arms: list[BenchArm], bench: BenchConfig) -> BenchGroup:
    alone = tuple(replace(arm, twin=None) for arm in arms)
    return BenchGroup(f"{shape.name}_{name}", f"{shape.name}, {title}", alone, alone[0].label, bench.repeats)
