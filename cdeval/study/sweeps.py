"""Many settings: which of them are one study, and their results as one."""

from collections.abc import Sequence
from dataclasses import replace

from cdeval.config.schema import AmateurConfig, ContrastConfig, ProtocolConfig, RunConfig, SearchConfig
from cdeval.study.results import Outcome


def studies(configs: Sequence[RunConfig]) -> list[list[int]]:
    """Places of the settings that share models, prompts, length and metrics, and so their forward passes and table.

    They may differ in amateur, contrast and search, and in the protocol's name.
    """
    found: list[tuple[RunConfig, list[int]]] = []
    for place, config in enumerate(configs):
        common = _common(config)
        mine = next((places for other, places in found if other == common), None)
        if mine is None:
            found.append((common, [place]))
        else:
            mine.append(place)
    return [places for _, places in found]


def _common(config: RunConfig) -> RunConfig:
    return replace(
        config,
        amateur=AmateurConfig(),
        contrast=ContrastConfig(),
        search=SearchConfig(max_new_tokens=config.search.max_new_tokens),
        protocol=ProtocolConfig(diversity=config.protocol.diversity),
    )


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome a folder: the last one, which shows all points of the study; the failures are those of all."""
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        before = found.get(str(outcome.folder))
        failures = [*(before.failures if before else []), *outcome.failures]
        found[str(outcome.folder)] = replace(outcome, failures=failures)
    return list(found.values())
