"""What is left of a distribution before a draw, against Hugging Face's own processors."""

import math
from dataclasses import asdict

import pytest
import torch
from transformers import (
    EtaLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from cdeval.config.setting import Sampling
from cdeval.decode.warping import warp, warping

CPU = torch.device("cpu")
NARROWED = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(top_k=1),
    Sampling(top_k=10),
    Sampling(top_k=5000),
    Sampling(top_p=0.9),
    Sampling(top_p=0.01),
    Sampling(min_p=0.1),
    Sampling(min_p=1.0),
    Sampling(typical_p=0.95),
    Sampling(typical_p=0.2),
    Sampling(eta=0.0003),
    Sampling(eta=0.3),
    Sampling(temperature=1.5, top_k=40, top_p=0.8, min_p=0.02, typical_p=0.7, eta=0.01),
]


def hugging_face(one: Sampling, scores: torch.Tensor) -> torch.Tensor:
    """In the order in which `generate` applies them."""
    processors = LogitsProcessorList()
    if one.temperature != 1:
        processors.append(TemperatureLogitsWarper(one.temperature))
    if one.top_k is not None:
        processors.append(TopKLogitsWarper(one.top_k))
    if one.top_p is not None:
        processors.append(TopPLogitsWarper(one.top_p))
    if one.min_p is not None:
        processors.append(MinPLogitsWarper(one.min_p))
    if one.typical_p is not None:
        processors.append(TypicalLogitsWarper(one.typical_p))
    if one.eta is not None:
        processors.append(EtaLogitsWarper(one.eta))
    return processors(torch.empty(0), scores)


def rows(kind: str) -> torch.Tensor:
    torch.manual_seed(0)
    scores = torch.randn(40, 700) * torch.linspace(0.1, 6, 40)[:, None]
    if kind == "ties":
        scores = (scores * 2).round() / 2
    if kind == "impossible":  # as after a ban and V_head: most tokens are out, in one row all but one
        scores[:, 50:] = -math.inf
        scores[:20, 3:] = -math.inf
        scores[0, 1:] = -math.inf
    return scores.log_softmax(-1)


@pytest.mark.parametrize("kind", ["plain", "ties", "impossible"])
@pytest.mark.parametrize("one", NARROWED, ids=lambda one: str({k: v for k, v in asdict(one).items() if v is not None}))
def test_what_is_left_is_hugging_faces(one: Sampling, kind: str) -> None:
    scores = rows(kind)
    ours = warp(scores[:, None], warping([one] * len(scores), CPU))[:, 0]
    theirs = hugging_face(one, scores)
    assert torch.equal(ours.isinf(), theirs.isinf())
    assert torch.allclose(ours.softmax(-1), theirs.softmax(-1), atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "ties", "impossible"])
def test_lanes_with_unlike_settings_are_narrowed_each_by_its_own(kind: str) -> None:
    """What a lane does not use must leave it alone, to the last bit."""
    scores = rows(kind)[: len(NARROWED), None]
    together = warp(scores, warping(NARROWED, CPU))
    for lane, one in enumerate(NARROWED):
        alone = warp(scores[lane : lane + 1], warping([one], CPU))
        assert torch.equal(together[lane], alone[0])
    part = slice(3, 9)
    assert torch.equal(warp(scores[part], warping(NARROWED, CPU).for_lanes(part)), together[part])


def test_by_hand() -> None:
    """Of .5 .25 .15 .1: p=.6 needs two tokens; entropy is 1.208 nats, so .25 (1.386) is the most typical one."""
    scores = torch.tensor([[[0.5, 0.25, 0.15, 0.1]]]).log()

    def kept(**narrowed: object) -> list[int]:
        left = warp(scores, warping([Sampling(**narrowed)], CPU))  # type: ignore[arg-type]
        return left[0, 0].isfinite().nonzero()[:, 0].tolist()

    assert kept(top_k=3) == [0, 1, 2]
    assert kept(top_p=0.6) == [0, 1]
    assert kept(min_p=0.25) == [0, 1, 2]
    assert kept(typical_p=0.2) == [1]
    assert kept(eta=0.2) == [0, 1, 2]  # min(.2, sqrt(.2) * exp(-1.208)) = .1336
