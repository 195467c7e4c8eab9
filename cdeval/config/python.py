"""The groups of settings that `cdeval.api` offers, with the defaults that a command has from the files of `conf/`."""

from dataclasses import dataclass
from enum import Enum

from cdeval.config.enums import SearchKind
from cdeval.config.fields import number
from cdeval.config.schema import SearchConfig

_SEVERAL = (SearchKind.beam.name, SearchKind.contrastive_search.name)  # searches with more than one row a text


@dataclass
class SearchByKind(SearchConfig):
    """`cdeval.api.Search`: `Search("sample")` is what `search=sample` is for a command."""

    # None: 5 for beam search and contrastive search, 1 for the others.
    beams: int = number(None, least=1, most=1000)

    def __post_init__(self) -> None:
        """Choose the beams of the search's own file."""
        kind: object = self.kind  # perhaps its name
        if vars(self)["beams"] is None:
            several = (kind.name if isinstance(kind, Enum) else kind) in _SEVERAL
            self.beams = SearchConfig.beams if several else 1
