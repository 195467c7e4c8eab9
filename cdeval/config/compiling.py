"""What keeps a step of decoding from being compiled into one program (`execution.compile`)."""

from cdeval.config.amateur import AMATEURS
from cdeval.config.enums import SearchKind
from cdeval.config.plausibility import RULES
from cdeval.errors import ConfigError

SETTING = "execution.compile"


def obstacle(search: SearchKind, amateur: str, rule: str | None, *, gated: bool) -> str:
    """Say what keeps the steps of a setting from being compiled; empty: nothing does.

    Args:
        search: of the setting.
        amateur: the name of its kind.
        rule: the name of its rule of plausibility, if it has one.
        gated: whether a callable of the user's says where the amateur counts.
    """
    if search is SearchKind.hf:
        return "search=hf is the code of transformers"
    if AMATEURS[amateur].origin is not None:
        return f"amateur={amateur} is code of your own"
    if rule is not None and RULES[rule].origin is not None:
        return f"contrast.plausibility={rule} is a function of your own"
    return "contrast.gate=callable is a function of your own" if gated else ""


def cannot_compile(why: str) -> ConfigError:
    """Make the error of a step that is to be compiled and cannot be."""
    return ConfigError(f"{SETTING}=always: {why}, which cannot be compiled. Set {SETTING}=auto, or never.")
