"""The schema of `conf/compare.yaml`: which two studies are held against each other; checked once, at the door."""

from dataclasses import dataclass
from typing import Any

from cdeval.errors import ConfigError
from cdeval.schema import Text, check_values, text

PAIR = 2


@dataclass
class CompareRun:
    """The root of `conf/compare.yaml`."""

    # Two of them: folders as runs/<study>, or records; one is enough with record=.
    studies: Any = text(None, Text.lines)
    record: str | None = None  # a file for the record of the first study: digests of its texts, its numbers


def validate_compare(config: CompareRun) -> CompareRun:
    """Check that there are two studies, or one and a file for its record; a single path becomes a list of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    given = config.studies if isinstance(config.studies, list) else [config.studies]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise ConfigError(
            f"studies={config.studies}: expected two folders of studies or records of them, as "
            "studies=[runs/mine,docs/study/study_news.json]."
        )
    if len(given) > PAIR or (len(given) < PAIR and not config.record):
        raise ConfigError(
            f"studies=[{','.join(given)}] names {len(given)}: expected two to compare, or one with record=<file>."
        )
    if config.record is not None and not str(config.record).endswith(".json"):
        raise ConfigError(f"record={config.record}: expected the name of a .json file.")
    config.studies = given
    return config
