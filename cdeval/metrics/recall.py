"""What an earlier command found out about the same texts by the same means, so that it is not computed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.metrics.codebook import MEASURES
from cdeval.metrics.compare import Settings
from cdeval.metrics.judges.clusters import MauveOfArms
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.recipes import Basis, codebook_basis, recipes
from cdeval.metrics.rows import Rows
from cdeval.metrics.scorefile import ArmScores, Score, exact_digest, recipe_digest
from cdeval.records import Estimate, Generation


class Before(NamedTuple):
    """What an earlier command found out about an arm."""

    kept: ArmScores = ArmScores()
    names: frozenset[str] | None = None  # the only metrics that are wanted of the arm; None: all that are chosen


class Means(NamedTuple):
    """By what scores are made."""

    names: Sequence[str]  # of the chosen metrics
    judges: Judges
    config: MetricsConfig
    seed: int
    protocol: ProtocolConfig


@dataclass(frozen=True, slots=True)
class Recall:
    """Which of the scores that are asked for are known already, arm by arm."""

    chosen: Sequence[str]  # metrics
    arms: Mapping[str, Sequence[Generation]]
    before: Mapping[str, Before]
    settings: Settings
    exact: Mapping[str, str]  # digests of all that scoring reads of the arms
    bases: Mapping[str, Basis]  # by metric
    books: Mapping[str, Basis]  # by arm, of MAUVE and its relatives

    @classmethod
    def of(
        cls,
        arms: Mapping[str, Sequence[Generation]],
        human: Sequence[Generation] | None,
        means: Means,
        before: Mapping[str, Before],
    ) -> "Recall":
        """Look at what is known of these arms."""
        earlier = {label: before.get(label, Before()) for label in arms}
        exact = {label: exact_digest(texts) for label, texts in arms.items()}
        measures = set(MEASURES) & set(means.names)
        together = {
            label: exact[label] for label, known in earlier.items() if measures & set(_wanted(known, means.names))
        }
        config = means.config
        return cls(
            chosen=means.names,
            arms=arms,
            before=earlier,
            settings=Settings(config.confidence, config.bootstrap_draws, means.seed),
            exact=exact,
            bases=recipes(means.names, means.judges, config, means.protocol),
            books=codebook_basis(together, human, exact_digest(human or []), config) if together else {},
        )

    @property
    def clustered(self) -> list[str]:
        """The arms whose MAUVE is wanted: they are clustered together."""
        return list(self.books)

    @property
    def knows_mauve(self) -> bool:
        """Whether all arms have been clustered together before, just as they would be now."""
        return all(self._knows(label, name) for label in self.books for name in self.names(label) if name in MEASURES)

    def names(self, label: str) -> list[str]:
        """The metrics that are wanted of an arm."""
        return _wanted(self.before[label], self.chosen)

    def lacking(self) -> dict[str, list[str]]:
        """By arm, the metrics that have to be computed, but for MAUVE and its relatives."""
        return {
            label: [name for name in self.names(label) if name not in MEASURES and not self._knows(label, name)]
            for label in self.arms
        }

    def kept(
        self, label: str, content: str, fresh: Mapping[str, Estimate], rows: Mapping[str, Rows], mauve: MauveOfArms
    ) -> ArmScores:
        """All that is known of an arm, whose `texts_digest` is given, once the fresh estimates are.

        What nobody asked for now is as it was.
        """
        old = self.before[label].kept
        found = {
            name: Score(
                estimate,
                content,
                recipe_digest(name, self.exact[label], self._basis(label, name), self.settings),
                self._basis(label, name),
                rows[name].of_arm() if name in rows else None,
            )
            for name, estimate in fresh.items()
        }
        if label not in mauve.estimates:
            return ArmScores({**old.scores, **found}, old.codes, old.curve)
        return ArmScores({**old.scores, **found}, mauve.codes.get(label), mauve.curves.get(label, []))

    def _knows(self, label: str, name: str) -> bool:
        score = self.before[label].kept.scores.get(name)
        if score is None or not score.made_of:
            return False
        return score.made_of == recipe_digest(name, self.exact[label], self._basis(label, name), self.settings)

    def _basis(self, label: str, name: str) -> Basis:
        return {**self.bases[name], **(self.books.get(label, {}) if name in MEASURES else {})}


def _wanted(known: Before, chosen: Sequence[str]) -> list[str]:
    return [name for name in chosen if known.names is None or name in known.names]
