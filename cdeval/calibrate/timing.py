"""How long a token takes at every threshold: settings in turn on the same prompts, in one process."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from cdeval.config.enums import Compile
from cdeval.config.setting import Setting
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.records import Prompt
from cdeval.store.progress import Steps
from cdeval.study.models import StudyModels


def seconds_per_token(  # noqa: PLR0913 - what is timed, and how
    models: StudyModels,
    prompts: Sequence[Prompt],
    settings: Sequence[Setting],
    *,
    together: Sequence[int],
    repeats: int,
    compact_every: int,
    compiling: Compile,
    say: Callable[[str], None],
) -> list[Mapping[int, float]]:
    """Time the tokens after the first one of each setting.

    Each setting decodes once untimed; then A B C, A B C, so that a machine that slows down slows all alike.

    Args:
        models: that decode.
        prompts: of one length; the first of them are timed.
        settings: that are timed in turn.
        together: numbers of prompts in one batch.
        repeats: timed passes of each.
        compact_every: as `execution.compact_every`.
        compiling: as `execution.compile`.
        say: told how far it is.

    Returns: for each setting, by the number of prompts in a batch, the median over passes of the seconds that a token
        of one text takes: a step of the batch over its texts.
    """
    found: list[dict[int, float]] = [{} for _ in settings]
    with Steps(say, "timed pass", len(together) * (repeats + 1) * len(settings)) as progress:
        for count in together:
            passes: list[list[float]] = [[] for _ in settings]
            for turn in range(repeats + 1):
                for place, setting in enumerate(settings):
                    lanes = [Lane.from_prompt(prompt, setting) for prompt in prompts[:count]]
                    _, stats = decode_batch(
                        models.expert, lanes, compact_every, amateur_models=models.amateur_models, compiling=compiling
                    )
                    later = stats.step_seconds[1:]
                    if turn and later:
                        passes[place].append(sum(later) / len(later) / count)
                    progress.advance()
            for place, seconds in enumerate(passes):
                if seconds:
                    found[place][count] = median(seconds)
    return list(found)
