"""`python -m cdeval.tune`: the best of equally many settings of each arm, on the tuning split."""

from cdeval.cli import Schema, compose_further, known_arms, plain_dict, run_schema
from cdeval.config.grids import tuned_arm
from cdeval.config.methods import extended
from cdeval.errors import together
from cdeval.metrics.registry import all_metrics
from cdeval.store.screen import Screen
from cdeval.tune.config import TuneRun, as_run, validate_tune
from cdeval.tune.criterion import read_criterion
from cdeval.tune.tables import tuning_lines


def tune(config: TuneRun) -> None:
    """Print the tables to the standard output, everything else to the error output."""
    criterion = read_criterion(config.criterion, config.at_least, {one.name: one.better.way for one in all_metrics()})
    root, known = extended(TuneRun), known_arms()
    arms = [tuned_arm(line, known, config.spaces, root, config.settings, config.seed) for line in config.arms]
    lines = [[*arm.fixed, *one] for arm in arms for one in arm.tried]
    composed: list[TuneRun] = compose_further(lines, root)
    configs = [as_run(one) for one in composed]
    # torch and transformers take seconds; --help and mistakes must not.
    from cdeval.tune.pipeline import run_tuning  # noqa: PLC0415

    progress, console = Screen(errors=True), Screen()
    found = run_tuning(config, arms, configs, [plain_dict(one) for one in configs], criterion, progress.say)
    for line in tuning_lines(found.tuned, criterion, console.width):
        console.say(line)
    for line in found.notes:
        console.say(f"  {line}")
    if found.failures:
        raise together(found.failures)


if __name__ == "__main__":
    run_schema(tune, Schema(TuneRun, validate_tune, composes=True), config_name="tune")
