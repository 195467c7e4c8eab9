"""The reading of what `cdeval.lens` measured: how often the contrast accepts what each exit drafts."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cdeval.cost.drafting import Accepted
from cdeval.errors import ConfigError, one_line
from cdeval.records import EXPERT
from cdeval.store.strict_json import count, number, parse


class MeasuredExits(NamedTuple):
    """The exits of an expert that was measured."""

    exits: list[Accepted]
    depth: int  # blocks of the expert


def read_accepted(path: Path) -> MeasuredExits:
    """Read the JSON file that `python -m cdeval.lens` writes.

    Raises: ConfigError: the file is none of that command's, or of an edition that did not count accepted drafts.
    """
    try:
        *exits, expert = (_accepted(record) for record in parse(path.read_bytes())["scores"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"drafting={path}: {one_line(error)}. Expected the JSON file that `python -m cdeval.lens` writes, of this "
            "edition or a later one: how often drafts are accepted stands in it."
        ) from None
    if expert.lens != EXPERT or not all(0 < one.layer < expert.layer for one in exits):
        raise ConfigError(f"drafting={path}: its last score is not of the expert itself, as `cdeval.lens` writes it.")
    return MeasuredExits(exits, expert.layer)


def _accepted(record: Mapping[str, object]) -> Accepted:
    """Raises: KeyError, ValueError: a field is missing, or no share."""
    found = Accepted(
        count(record, "layer"),
        str(record["lens"]),
        number(record, "accepted_likeliest"),
        number(record, "accepted_drawn"),
    )
    if not (0 <= found.likeliest <= 1 and 0 <= found.drawn <= 1):
        raise ValueError(f"layer {found.layer} accepts {found.likeliest} and {found.drawn}, expected shares of 0 to 1")
    return found
