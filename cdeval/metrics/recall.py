"""Scores of an earlier command for the same texts by the same means, so that they are not computed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cdeval.metrics.compare import Settings
from cdeval.metrics.means import Arms, Basis, Means, Measured
from cdeval.metrics.registry import Metric
from cdeval.metrics.scorefile import ArmScores, Score, exact_digest, recipe_digest


class Before(NamedTuple):
    """The scores of an arm by an earlier command."""

    kept: ArmScores = ArmScores()
    names: frozenset[str] | None = None  # the only metrics that are wanted of the arm; None: all that are chosen


@dataclass(frozen=True, slots=True)
class Recall:
    """The known ones among the requested scores, arm by arm."""

    chosen: Sequence[Metric]
    arms: Arms
    before: Mapping[str, Before]
    settings: Settings
    exact: Mapping[str, str]  # digests of all that scoring reads of the arms
    bases: Mapping[str, Mapping[str, Basis]]  # by metric and arm; of the arms that it is wanted of

    @classmethod
    def for_arms(cls, arms: Arms, chosen: Sequence[Metric], means: Means, before: Mapping[str, Before]) -> "Recall":
        """Find which scores of these arms are known."""
        earlier = {label: before.get(label, Before()) for label in arms}
        exact = {label: exact_digest(texts) for label, texts in arms.items()}
        wanted = {
            metric: [label for label, known in earlier.items() if known.names is None or metric.name in known.names]
            for metric in chosen
        }
        bases: dict[str, Mapping[str, Basis]] = {}
        for metric, labels in wanted.items():
            own = metric.basis(means) if labels else {}
            group = [label for one, its in wanted.items() if metric.together == one.together for label in its]
            digests = {label: exact[label] for label in arms if label in group}
            more = metric.basis_together(digests, means) if metric.together and labels else {}
            bases[metric.name] = {label: {**own, **more.get(label, {})} for label in labels}
        return cls(chosen, arms, earlier, means.settings, exact, bases)

    def lacking(self) -> dict[Metric, list[str]]:
        """List by metric the arms that it has to score.

        Arms that are scored together are all scored again where one of them was not scored just as it would be now.
        """
        found = {
            metric: [label for label in self.bases[metric.name] if not self._knows(label, metric.name)]
            for metric in self.chosen
        }
        anew = {metric.together for metric, labels in found.items() if labels and metric.together}
        return {
            metric: list(self.bases[metric.name]) if metric.together in anew else labels
            for metric, labels in found.items()
        }

    def kept(self, label: str, content: str, fresh: Mapping[Metric, Measured]) -> ArmScores:
        """Join the fresh scores of an arm, whose `texts_digest` is given, with those that are known.

        What nobody asked for now is as it was.
        """
        old = self.before[label].kept
        scores = {
            metric.name: Score(
                found.estimate,
                content,
                "" if found.failed else self._recipe(label, metric.name),
                self.bases[metric.name][label],
                found.rows,
                metric.facts() if metric.origin is not None else {},
            )
            for metric, found in fresh.items()
        }
        clustered = [found for metric, found in fresh.items() if metric.keeps_clusters]
        if not clustered:
            return ArmScores({**old.scores, **scores}, old.codes, old.curve)
        codes = next((found.codes for found in clustered if found.codes is not None), None)
        return ArmScores({**old.scores, **scores}, codes, next((one.curve for one in clustered if one.curve), ()))

    def _knows(self, label: str, name: str) -> bool:
        score = self.before[label].kept.scores.get(name)
        return score is not None and score.made_of != "" and score.made_of == self._recipe(label, name)

    def _recipe(self, label: str, name: str) -> str:
        return recipe_digest(name, self.exact[label], self.bases[name][label], self.settings)
