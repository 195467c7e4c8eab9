"""Errors of Hydra, of OmegaConf and of files in the words of ours: one line that says what was given and what to do."""

import os
import re
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from cdeval.config.overrides import no_file
from cdeval.errors import CdevalError, ConfigError, StorageError
from cdeval.store.files import FULL, refused_reading

# A file of settings of a group that no command has as such (`config.given.BUNDLES`), whose settings are another's.
_FOREIGN = re.compile(r"In '(?P<group>\w+)/(?P<name>[^']+)': \w+ raised .*Key '(?P<key>\w+)' (?:is )?not in", re.DOTALL)


def in_our_words(error: Exception) -> CdevalError | None:
    """Word an error of composing settings, of a disk or of a file; None: it is another thing, as a lost connection."""
    if isinstance(error, HydraException | OmegaConfBaseException):  # some of them are OSErrors, too
        return ConfigError(_of_hydra(error))
    if not isinstance(error, OSError):
        return None
    if error.errno in FULL:
        return StorageError(f"{error.filename or 'a disk'}: {error.strerror}. Make room there.")
    if error.errno is None or error.filename is None:
        return None
    return StorageError(refused_reading(Path(os.fsdecode(error.filename)), error))


def _of_hydra(error: Exception) -> str:
    """Hydra's own message on one line, without what speaks of its internals; of a file that is not there, our own."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return no_file(group, name, error.options)
    foreign = _FOREIGN.search(str(error))
    if foreign is not None:
        return (
            f"{foreign['group']}={foreign['name']} sets {foreign['key']}, which this command does not have: that file "
            "is for another command, which its first lines name."
        )
    lines = [line.strip() for line in str(error).splitlines()]
    hidden = ("full_key:", "object_type=", "reference_type=", "provider=", "To append to your config", "Config search")
    text = ", ".join(line for line in lines if line and not line.startswith(hidden)).replace(":,", ":")
    cause = str(error.__cause__ or "").splitlines()
    return text if not cause or cause[0] in text else f"{text}: {cause[0]}"
