"""The lens command on one page: texts of two splits in, trained lenses and a table of what each layer knows out.

training texts -> translators -> files        held-out texts -> scores of every lens -> a table and JSON
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdeval.config.enums import Split
from cdeval.config.exits import Lens, check_depth, in_blocks, validate_layers
from cdeval.config.naming import shortened, slug
from cdeval.config.plugins import loaded_plugins
from cdeval.cost.drafting import Accepted, drafting
from cdeval.cost.traffic import token_bytes
from cdeval.errors import ModelError, PromptError
from cdeval.lens.config import LensRun, PruneBy
from cdeval.lens.measure import measure
from cdeval.lens.prune import measured, search_blocks
from cdeval.lens.reading import Contrast, View
from cdeval.lens.training import texts_digest, train
from cdeval.lens.trajectory import trajectory
from cdeval.models.lens import TunedLens, read_lens, to_bytes
from cdeval.models.loading import OpenedModel, open_model
from cdeval.prompts.cut import shuffled
from cdeval.prompts.items import Text
from cdeval.prompts.load import whole_texts
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Drafting, LensScore, PrunedBlocks, Trajectory
from cdeval.store.files import require_writable
from cdeval.store.folder import replace_file
from cdeval.store.progress import Steps
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import to_page


@dataclass(frozen=True, slots=True)
class LensResult:
    """The result of the command, as it is shown."""

    scores: list[LensScore]  # layer by layer, the expert itself last
    drafting: list[Drafting]
    notes: list[str]
    scores_file: Path


def run_lens(config: LensRun, plain_config: Mapping[str, object], say: Callable[[str], None]) -> LensResult:
    """Train tuned lenses if asked to, and measure all lenses on held-out texts.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the record.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite.
    """
    require_writable(_place(config, "lens"))
    opened = open_model(config.expert)
    lens, layers = _asked(config, opened)
    training, held_out = _texts(config, config.prompts.split), held_out_texts(config)
    with Steps(say, f"reading the weights of {opened.name}"):
        # Hundreds of rows at a time are faster in the plain layout, and gradients pass through it.
        expert = opened.load(packed=False)
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    lenses: dict[Path, TunedLens] = {}  # by their files
    if config.train:
        for made in train(config, expert, layers, training, say):
            file = _lens_file(config, expert.name, made)
            replace_file(file, to_bytes(made))
            say(f"the lens is in {file}")
            lenses[file] = made.on(expert)
    elif lens is not None:
        lenses[Path(config.lens_file or "")] = lens.on(expert)
    say(f"measuring on {len(held_out)} texts of the split {config.prompts.split.other.value}")
    codec = TextCodec(expert.tokenizer)
    tokens = [codec.prompt_ids(text.text)[: config.text_tokens] for text in held_out]
    contrast = Contrast(config.alpha, config.beta, config.temperature)
    views = _views(config.lenses, layers, list(lenses.values()))
    scores = measure(expert, tokens, views, config.positions, contrast, say)
    exits = [Accepted(one.layer, one.lens, one.accepted_likeliest, one.accepted_drawn) for one in scores[:-1]]
    drafted = drafting(token_bytes(expert), exits, expert.parts.depth, config.text_tokens)
    scores_file = _scores_file(config, list(lenses))
    facts = {"expert": expert.name, "fingerprint": expert.fingerprint, "dtype": expert.dtype_name}
    record = {
        **provenance(facts, texts_digest(held_out), loaded_plugins()),
        "lenses": {_method(lens): dict(lens.facts) | {"digest": lens.digest} for lens in lenses.values()},
        "scores": scores,
        "drafting": drafted,
        "settings": plain_config,
    }
    replace_file(scores_file, to_page(record))
    return LensResult(scores, drafted, _notes(config, scores, lenses), scores_file)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The result of the search for blocks to leave out, as it is shown."""

    steps: list[PrunedBlocks]  # the best choice of each, the result last
    held_out: PrunedBlocks  # the result on the other split
    notes: list[str]
    file: Path


def run_prune(config: LensRun, plain_config: Mapping[str, object], say: Callable[[str], None]) -> PruneResult:
    """Search on one split for the blocks to leave out of the expert, and measure the result on the other one.

    Raises: CdevalError: as `run_lens`. ModelError: the expert has no more blocks than are to be left out.
    """
    file = _place(config, "pruned.json")
    require_writable(file)
    opened, asked = open_model(config.expert), config.prune
    depth, blocks = opened.config.num_hidden_layers, asked.blocks or 0
    if blocks >= depth:
        raise ModelError(
            f"prune.blocks={blocks}: {opened.name} has L={depth} blocks, of which one must be left: expected 1 to "
            f"{depth - 1}."
        )
    split, texts = config.prompts.split, _texts(config, config.prompts.split)
    others = held_out_texts(config)
    expert, contrast = opened.load(packed=False), Contrast(config.alpha, config.beta, config.temperature)
    say(f"expert {expert.name}: {depth} blocks, {expert.dtype_name} on {expert.device}; split {split.value}")
    codec = TextCodec(expert.tokenizer)
    mine, theirs = ([codec.prompt_ids(text.text) for text in side] for side in (texts, others))
    steps = search_blocks(expert, mine, asked, contrast, say)
    held_out = measured(expert, steps[-1].left_out, theirs, asked.passages, contrast)
    facts = {"expert": expert.name, "fingerprint": expert.fingerprint, "dtype": expert.dtype_name}
    record = {
        **provenance(facts, texts_digest(texts), loaded_plugins()),
        "steps": steps,
        "held_out": held_out,
        "settings": plain_config,
    }
    replace_file(file, to_page(record))
    typed = f"amateur=pruned amateur.left_out=[{','.join(map(str, held_out.left_out))}]"
    criterion = "highest margin" if asked.by is PruneBy.margin else "lowest KL"
    notes = [
        f"searched by {asked.search.value}, {criterion}, β={config.beta:g} T={config.temperature:g}, on "
        f"{steps[-1].passages} passages of the split {split.value} of {config.prompts.source.value}",
        f"to type: {typed}",
    ]
    return PruneResult(steps, held_out, notes, file)


def read_prompt(config: LensRun, say: Callable[[str], None]) -> tuple[Trajectory, Path]:
    """Read each layer after each token of `config.prompt`, through the tuned lens or the first that is named.

    Returns: it, and the page that is to show it. Raises: CdevalError: as `run_lens`.
    """
    name = f"{slug(config.prompt or '')[:60].strip('.-') or 'prompt'}.html"
    page = _place(config, name)
    require_writable(page)
    opened = open_model(config.expert)
    lens, layers = _asked(config, opened)
    expert = opened.load(packed=False)
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    kinds = [] if lens else config.lenses[:1]
    found = trajectory(expert, config.prompt or "", _views(kinds, layers, [lens.on(expert)] if lens else []))
    return found, page


def _place(config: LensRun, name: str) -> Path:
    """The file that is written: the one that was named, or one of this name."""
    return Path(config.out) if config.out is not None else Path(config.runs) / "lens" / name


def held_out_texts(config: LensRun) -> list[Text]:
    """Load texts to measure lenses on: no lens is trained on their split. Raises: PromptError: there are none."""
    return _texts(config, config.prompts.split.other)


def _asked(config: LensRun, opened: OpenedModel) -> tuple[TunedLens | None, list[int]]:
    """The lens that is to be read, and the layers."""
    if config.lens_file is None:
        return None, _layers(config, opened)
    asked = None if config.layers is None else _layers(config, opened)
    lens = read_lens(Path(config.lens_file), asked, opened.config.hidden_size)
    return lens, sorted(lens.translators) if asked is None else asked


def _layers(config: LensRun, opened: OpenedModel) -> list[int]:
    """The layers that were asked for, as blocks. Raises: ModelError: one lies outside the expert."""
    depth = opened.config.num_hidden_layers
    if config.layers is None:
        return list(range(1, depth))
    layers = in_blocks(validate_layers("layers", config.layers), depth)
    for layer in layers:
        check_depth(depth, layer, opened.name, "layers")
    return layers


def _texts(config: LensRun, split: Split) -> list[Text]:
    """No more than `prompts.limit` texts of a split, chosen by the seed, in their order.

    Raises: PromptError: there are none.
    """
    tokens = max(config.text_tokens, config.fit.window_tokens)
    found = whole_texts(config.prompts, split, tokens)
    found = [found[place] for place in sorted(shuffled(found, config.seed)[: config.prompts.limit])]
    if not found:
        raise PromptError(
            f"prompts={config.prompts.source.value} has no texts of the split {split.value}: a lens needs both "
            "splits, one to be trained on and one to be measured on. Choose another source."
        )
    return found


def _views(lenses: Sequence[Lens], layers: Sequence[int], trained: Sequence[TunedLens]) -> list[View]:
    plain = [View(layer, kind) for layer in layers for kind in lenses]
    tuned = [View(k, Lens.tuned, lens.translators[k], _method(lens)) for k in layers for lens in trained]
    return sorted([*plain, *tuned], key=lambda view: view.layer)


def _method(lens: TunedLens) -> str:
    """Name how a lens was made, for tables; older files do not say."""
    return lens.facts.get("method", Lens.tuned.value)


def _lens_file(config: LensRun, expert: str, lens: TunedLens) -> Path:
    """The file of a lens; of several that go beside a name that was given, each has its method's."""
    plain = shortened(slug(expert.rpartition("/")[2]), 200) or "expert"
    file = _place(config, f"{plain}-{lens.digest[:8]}.safetensors")
    several = config.out is not None and len(config.fit.methods) > 1
    return file.with_stem(f"{file.stem}-{_method(lens)}") if several else file


def _scores_file(config: LensRun, lens_files: Sequence[Path]) -> Path:
    """Choose the file: beside the lenses that were trained; otherwise the one asked for, or one of its own name."""
    if not config.train:
        return _place(config, "scores.json")
    first, *others = lens_files
    if config.out is not None:
        return Path(config.out).with_suffix(".json")
    return first.with_name("-".join([first.stem, *(file.stem[-8:] for file in others)]) + ".json")


def _notes(config: LensRun, scores: Sequence[LensScore], lenses: Mapping[Path, TunedLens]) -> list[str]:
    source = f"{config.prompts.source.value}, split {config.prompts.split.other.value}"
    notes = [f"means over {scores[-1].positions} positions of held-out texts ({source})"]
    for file, lens in lenses.items():
        seconds = f", fitted in {lens.facts['seconds']} s" if "seconds" in lens.facts else ""
        notes.append(f"{_method(lens)}{seconds}: use it by amateur.lens=tuned amateur.lens_file={file}")
    return notes
