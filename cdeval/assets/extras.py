"""Libraries that only an extra of cdeval brings: what to type where one is missing, in one sentence for all of them."""

import importlib
from types import ModuleType

from cdeval.errors import ConfigError


def how_to_install(extra: str) -> str:
    """Say how an extra is installed, from a package index or from a checkout."""
    return f"pip install 'cdeval[{extra}]' (from a checkout: pip install -c constraints.txt -e '.[{extra}]')"


def library_of(extra: str, name: str, reader: str) -> ModuleType:
    """Import a library that an extra brings.

    Args:
        extra: its name in pyproject.toml.
        name: of the library, as it is imported.
        reader: the setting or command that needs it, for the message.

    Raises: ConfigError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{reader} needs {name}, which cannot be imported ({error}): {how_to_install(extra)}."
        ) from error
