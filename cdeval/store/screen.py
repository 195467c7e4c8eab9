"""The console of all commands: everything they print goes through it, so that a terminal obeys no text of others."""

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cdeval.store.escaping import visible


class Screen(Console):
    """A console that takes no text for markup, and shows signs that a terminal would obey as replaced."""

    def __init__(self, *, errors: bool = False) -> None:
        """Print to the standard output, or with `errors` to the error output."""
        super().__init__(file=None if errors else sys.stdout, stderr=errors, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, without what a terminal would obey; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def say(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.print(text, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    """Write a line to the error output without any layout: for what must be said when a command ends."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()
