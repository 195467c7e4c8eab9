"""The errors of the package: a user's mistakes, and prerequisites that a machine lacks.

Every message says what was given, what was expected and what to do. The commands print it without a traceback and exit
with code 2; any other exception is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class CdevalError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(CdevalError):
    """A setting is unknown, of the wrong type, or out of range."""


class PromptError(CdevalError):
    """The prompts cannot be read, or no text is usable."""


class TextsError(CdevalError):
    """An error in texts of others, or votes on them: they cannot be read, or do not fit together."""


class ModelError(CdevalError):
    """A model cannot be found, read, or decoded the way it was asked to."""


class AssetError(CdevalError):
    """An embedded default cannot be fetched or does not match its hash."""


class HubError(CdevalError):
    """Something on the Hugging Face hub is needed, and the hub cannot be reached."""


class StorageError(CdevalError):
    """The run folder cannot be written or belongs to something else."""


class WorkerError(CdevalError):
    """Worker processes cannot be started, or do not stay alive."""


class PointError(CdevalError):
    """One point of a study failed; the others went on, and the same command tries it again."""


def together(failures: Sequence[CdevalError]) -> CdevalError:
    """Make one error of several, of their kind if they are of one."""
    if len(failures) == 1:
        return failures[0]
    kinds = {type(failure) for failure in failures}
    return (kinds.pop() if len(kinds) == 1 else ConfigError)("\n  ".join(map(str, failures)))


def one_line(error: BaseException, most: int = 400) -> str:
    r"""Put what an exception says on one line of at most so many characters.

    >>> one_line(ValueError("first\n  second"))
    'first second'
    """
    return " ".join(str(error).split())[:most]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error message: the closest known names, then all of them.

    >>> did_you_mean("alhpa", ["alpha", "beta"])
    "Did you mean 'alpha'? Known: alpha, beta."
    """
    names = sorted(known)
    close = get_close_matches(given, names, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(names)}."
