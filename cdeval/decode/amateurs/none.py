"""The kind of an expert alone, from which nothing is subtracted."""

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind


class NoAmateur(AmateurKind):
    """The absence of an amateur."""

    name = "none"

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        return "no amateur"


AMATEURS.add(NoAmateur())
