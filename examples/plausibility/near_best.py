"""A rule of plausibility of one's own: tokens whose log-probability is near the best one's."""

from torch import Tensor

from cdeval import number, plausibility


@plausibility("near_best", gap=number(2.0, least=0, most=100, hint="nats below the likeliest token"))
def near_best(log_expert: Tensor, gap: float) -> Tensor:
    """Mark the tokens [lane, beam, vocabulary] that may be chosen."""
    return log_expert >= log_expert.amax(-1, keepdim=True) - gap
