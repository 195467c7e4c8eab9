"""The trace command: the models and the prompt that its settings name, and the trace of the decoded text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cdeval.config.enums import Split
from cdeval.config.exits import Lens
from cdeval.config.naming import slug
from cdeval.config.schema import RunConfig
from cdeval.config.setting import setting_of
from cdeval.decode.trace import check_traceable, trace_text
from cdeval.errors import PromptError, did_you_mean
from cdeval.lens.temperature import with_temperature
from cdeval.prompts.cut import in_split
from cdeval.prompts.load import PromptSet, one_prompt
from cdeval.records import Trace
from cdeval.store.files import require_writable
from cdeval.store.progress import Steps
from cdeval.study.models import open_models
from cdeval.trace.config import TraceRun, as_run


def read_trace(config: TraceRun, say: Callable[[str], None]) -> tuple[Trace, Path]:
    """Decode the prompt that a configuration names.

    Returns: its trace, and the page that is to show it.

    Raises: CdevalError: a user's mistake or a missing prerequisite.
    """
    run = _with_split(as_run(config), config.id)
    check_traceable(run.search.kind)
    require_writable(Path(config.out) if config.out is not None else Path(config.runs) / "trace" / "page")
    opened = open_models(run)
    if config.prompt is not None:
        prompts = one_prompt(config.prompt, opened.expert.tokenizer)
    else:
        prompts = _named(opened.prompts(), config.id or "")
    opened.check(prompts)
    models = opened.load(prompts, say)
    expert = models.expert
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    (prompt,) = prompts.prompts
    ready, _ = with_temperature(opened.config, expert, models.amateur_models, [prompt.id], say)
    with Steps(say, f"decoding {run.search.max_new_tokens} tokens and what each step weighs"):
        trace = trace_text(
            expert,
            prompt,
            setting_of(ready),
            models.amateur_models,
            candidates=config.candidates,
            compact_every=run.execution.compact_every,
            compiling=run.execution.compile,
        )
    name = f"{slug(config.id or prompt.text)[:60].strip('.-') or 'prompt'}.html"
    return trace, Path(config.out) if config.out is not None else Path(config.runs) / "trace" / name


def _with_split(run: RunConfig, name: str | None) -> RunConfig:
    """Narrow the prompts to the split of the one that is named, as in a study, where a linear lens needs the other one.

    A prompt that was typed is of neither; the lens is then that of a study on the test split.
    """
    lenses = (run.amateur.lens, run.search.adaptive_exit.lens)
    if Lens.linear not in lenses or run.prompts.split is not Split.all:
        return run
    split = Split.tune if name is not None and in_split(name, Split.tune) else Split.test
    return replace(run, prompts=replace(run.prompts, split=split))


def _named(found: PromptSet, name: str) -> PromptSet:
    """The prompt of that id. Raises: PromptError: there is none."""
    chosen = tuple(prompt for prompt in found.prompts if prompt.id == name)
    if not chosen:
        known = [prompt.id for prompt in found.prompts]
        raise PromptError(f"id={name}: there is no such prompt in {found.source}. {did_you_mean(name, known)}")
    return replace(found, prompts=chosen)
