"""The means of each metric, beside the texts: what must agree for two scores to be compared or reused."""

from collections.abc import Collection, Mapping, Sequence

from cdeval.config.enums import Codebook
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.metrics.codebook import MEASURES, unavailable
from cdeval.metrics.judges.embedder import embedder_identity
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.judges.scorer import identity
from cdeval.metrics.pairing import LIKELIHOOD
from cdeval.metrics.registry import plugged
from cdeval.metrics.scorefile import digest_of
from cdeval.models.loading import choose_device
from cdeval.records import Generation

Basis = Mapping[str, str]  # what, and which; an empty value is one that is not known

_BY_PROTOCOL = frozenset({"diversity", "rep_2", "rep_3", "rep_4"})


def recipes(
    names: Collection[str], judges: Judges, config: MetricsConfig, protocol: ProtocolConfig
) -> dict[str, Basis]:
    """The basis of each of these metrics, but for the texts that MAUVE clusters together (`codebook_basis`).

    No judge is loaded for it that was not loaded before.
    """
    return {name: _basis(name, judges, config, protocol) for name in names}


def _basis(name: str, judges: Judges, config: MetricsConfig, protocol: ProtocolConfig) -> Basis:
    if name in _BY_PROTOCOL:
        return {"protocol": protocol.diversity.name}
    if name == "coherence":
        return {"embedder": _embedder(judges, config)}
    if name in LIKELIHOOD:
        judge = judges.likelihood or judges.scorer
        written = "written by the scorer" if judges.likelihood is None else "tokenised again"
        return {"scorer": identity(judge) if judge else "", "texts": f"{written} {judges.wrote}"}
    if name in MEASURES:
        judge = judges.featurizer or judges.scorer
        return {
            "featurizer": identity(judge) if judge else "",
            "tokens": "the scorer's" if judges.featurizer is None else "tokenised again",
            "clustering": f"{config.mauve_codebook.name}, {config.mauve_seeds} seeds",
        }
    return {"source": plugged()[name].origin.digest} if name in plugged() else {}


def codebook_basis(
    arms: Mapping[str, str], human: Sequence[Generation] | None, human_digest: str, config: MetricsConfig
) -> dict[str, Basis]:
    """By arm, what its MAUVE is clustered with.

    Args:
        arms: digests of the texts, by the labels of all arms that are clustered together.
        human: the human texts, if there are any.
        human_digest: their digest.
        config: whose texts share a codebook.
    """
    known = "" if human and unavailable(config.mauve_codebook) else human_digest
    if config.mauve_codebook is Codebook.pairwise:
        return {label: {"human texts": known, "codebook": digest} for label, digest in arms.items()}
    book = digest_of(sorted(arms.items()))
    return {label: {"human texts": known, "codebook": book} for label in arms}


def _embedder(judges: Judges, config: MetricsConfig) -> str:
    if not isinstance(judges.embedder, str):
        return judges.embedder.fingerprint
    device = judges.scorer.model.device if judges.scorer is not None else choose_device("auto")
    return embedder_identity(
        judges.embedder, str(device), pooling=config.embedder_pooling, tokens=config.embedder_tokens
    )
