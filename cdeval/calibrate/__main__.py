"""`python -m cdeval.calibrate`: how early the expert may stop at a token, with a guarantee on its texts."""

from cdeval.calibrate.config import CalibrateRun, validate_calibration
from cdeval.calibrate.tables import calibration_table
from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.store.screen import Screen


def calibrate(config: CalibrateRun) -> None:
    """Print the table to the standard output, everything else to the error output."""
    from cdeval.calibrate.pipeline import run_calibration  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Screen(errors=True)
    outcome = run_calibration(config, plain_dict(config), say=progress.say)
    console = Screen()
    console.print(calibration_table(outcome.scores, config.tolerance, config.level))
    for note in outcome.notes:
        console.say(f"  {note}")
    console.say(f"  results: {outcome.file}")


if __name__ == "__main__":
    run_schema(calibrate, Schema(CalibrateRun, validate_calibration), config_name="calibrate")
