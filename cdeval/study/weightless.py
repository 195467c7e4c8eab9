"""Studies of costs alone: true architectures filled with random numbers, timed and priced at fixed length.

    settings -> points (arms and controls) -> FLOPs and bytes of the shapes -> timing in a process of its own -> files

Latency and memory do not depend on the values of the weights where lengths are fixed, so experts whose weights cannot
be had are measured all the same. No text is stored, nothing is scored. One thing does depend on what is written: when
beams part, and so how many key-value slots live at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cdeval.config.amateur import Amateur
from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import plan_points
from cdeval.config.schema import RunConfig
from cdeval.cost.price import PricedArm, PricedText
from cdeval.models.loading import OpenedModel, open_model
from cdeval.models.shapes import random_prompts
from cdeval.prompts.load import PromptSet
from cdeval.report.finished import all_finished, finished_point, scoring_turn
from cdeval.report.studyfiles import read_shown
from cdeval.store.folder import RunFolder
from cdeval.store.provenance import provenance
from cdeval.study.costs import price_and_time
from cdeval.study.models import OpenedModels, load_together, open_models
from cdeval.study.open import StudyRequest
from cdeval.study.results import StudyResult, write_tables


def run_weightless(requests: Sequence[StudyRequest], say: Callable[[str], None]) -> StudyResult:
    """Price and time settings beside their controls; arguments and errors are those of `pipeline.run_study`."""
    common = requests[0].config
    expert = open_model(common.expert)
    opened = [open_models(one.config, expert) for one in requests]
    prompts = _prompts(common, expert)
    for one in opened:
        one.check(prompts)
    models, _ = load_together([_shapes(one) for one in opened], prompts)  # what could fail is refused at the door
    say(f"expert {expert.name}: {models.expert.parts.depth} blocks, random weights, {models.expert.dtype_name}")
    tokens, length = common.prompts.prompt_tokens, common.search.max_new_tokens
    points = plan_points([one.config for one in opened], lambda amateur: _identity(common, amateur), prompts.prompts)
    arms = {
        point.label: PricedArm(point.setting, [PricedText(tokens, length)])
        for point in points
        if point.setting is not None
    }
    priced, latency = price_and_time(arms, models, opened, prompts, common, say)
    root = Path(common.runs) / common.study
    facts = {
        "expert": expert.name,
        "weights": "random",
        "dtype": models.expert.dtype_name,
        "device": str(expert.device),
    }
    for point, place in points.items():
        plain = {**requests[place].plain, "point": point.facts()}
        with RunFolder(root / point.folder) as folder:
            folder.write_settings("config.yaml", plain)
            folder.write_json("provenance.json", {**provenance(facts, "", loaded_plugins()), "point": point.facts()})
            folder.write_json("latency.json", latency.get(point.label))
            folder.write_json("costs.json", priced[point.label])
            folder.finish(priced[point.label])
    lengths = f"random weights: costs alone, of {tokens} + {length} tokens; no text is stored or scored"
    with scoring_turn(root, say):
        every = all_finished(root, [finished_point(point, None) for point in points])
        before = read_shown(root)
        return write_tables(
            root, every, before.comparisons if before else [], [lengths], before.digest if before else "", say
        )


def _prompts(config: RunConfig, expert: OpenedModel) -> PromptSet:
    """Draw random tokens, one prompt a pass, the warm-up included."""
    wanted, tokens = config.cost.latency_repeats + 1, config.prompts.prompt_tokens
    prompts = random_prompts(expert.config, expert.tokenizer, wanted, tokens, config.seed)
    return PromptSet(prompts, "random tokens", wanted, 0, tokens, wanted, wanted, wanted, 0)


def _shapes(one: OpenedModels) -> OpenedModels:
    """Leave out the weights: models whose costs are only counted take no memory."""
    amateur = replace(one.amateur, on_paper=True) if isinstance(one.amateur, OpenedModel) else one.amateur
    return replace(one, expert=replace(one.expert, on_paper=True), amateur=amateur)


def _identity(config: RunConfig, amateur: Amateur) -> str:
    """Name the weights that would make the texts, if there were any."""
    return f"random {config.expert.name} {config.expert.dtype.value} {amateur.name}"
