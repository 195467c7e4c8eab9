"""The setting of all commands that show results on the screen."""

from dataclasses import dataclass

from cdeval.config.enums import Notes
from cdeval.config.fields import written_unless_default
from cdeval.config.plugins import TakesPlugins


@dataclass(kw_only=True)
class ShowsResults(TakesPlugins):
    """How much of the results is shown; their files hold everything either way."""

    notes: Notes = written_unless_default(default=Notes.short)
