"""The schema of `conf/merge.yaml`: which studies become one."""

from dataclasses import dataclass
from typing import Any

from cdeval.errors import ConfigError
from cdeval.schema import Text, check_values, text


@dataclass
class MergeConfig:
    """The root of `conf/merge.yaml`."""

    studies: Any = text(None, Text.lines)  # folders of one study each, as runs/<study>, from several machines
    into: str | None = None  # a study's folder, new or with some of their points; the sources are never changed


def validate_merge(config: MergeConfig) -> MergeConfig:
    """Check that there is something to merge, and a place for it; a single path becomes a list of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    given = config.studies if isinstance(config.studies, list) else [config.studies]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise ConfigError(f"studies={config.studies}: expected folders of studies, as studies=[a/runs/x,b/runs/x].")
    if not config.into:
        raise ConfigError("into= has no value: give the folder of the merged study, as into=runs/all.")
    config.studies = given
    return config
