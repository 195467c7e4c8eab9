import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from cdeval.metrics import codebook as module
from cdeval.metrics import stats
from cdeval.metrics.codebook import (
    Codes,
    compare_mauve,
    frontier_integral,
    mauve,
    mauve_interval,
    mauve_star,
    quantise,
)
from cdeval.metrics.compare import Settings, resample_counts
from cdeval.metrics.stats import Statistic

SEEDS = range(3)
SETTINGS = Settings(draws=500)


def clusters(seed: int, weights: tuple[float, ...], texts: int = 100) -> np.ndarray:
    """Features around four far centres, chosen with the given weights."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(4, 8)
    return (centres[rng.choice(4, size=texts, p=weights)] + rng.normal(size=(texts, 8))).astype(np.float32)


EVEN, UNEVEN, ELSEWHERE = (0.25, 0.25, 0.25, 0.25), (0.55, 0.25, 0.15, 0.05), (0.0, 0.0, 0.0, 1.0)


def codes(human: np.ndarray, generated: np.ndarray, count: int | None = None) -> Codes:
    """As `human.py` makes them of one arm."""
    n = len(human)
    count = count or max(2, round(n / 10))
    labels = quantise(np.vstack([generated, human]), count, SEEDS)
    return Codes(tuple(map(str, range(n))), labels[n:], labels[:n], count)


def value(of_arm: Codes, measure: Statistic = mauve) -> float:
    return float(measure(of_arm.whole()).mean())


def test_closer_distributions_score_higher():
    human = clusters(0, EVEN)
    arms = [codes(human, clusters(1, weights)) for weights in (EVEN, UNEVEN, ELSEWHERE)]
    for measure, sign in ((mauve, 1), (mauve_star, 1), (frontier_integral, -1)):
        same, near, far = (sign * value(arm, measure) for arm in arms)
        assert same > near + 0.02, measure
        assert near > far + 0.2, measure


def test_an_arm_against_itself_is_one():
    human = clusters(0, EVEN)
    for sample in (human, np.ones((4, 8))):
        assert value(codes(sample, sample)) == pytest.approx(1.0)
        assert value(codes(sample, sample), frontier_integral) == pytest.approx(0.0)


def test_counts_by_hand():
    """Two codebooks, three texts, the last one drawn twice and the first not at all."""
    of_arm = Codes(("a", "b", "c"), np.array([[0, 1], [1, 1], [1, 0]]), np.array([[0, 0], [0, 1], [2, 0]]), 3)
    (counts,) = of_arm.counts(np.array([[0.0, 1.0, 2.0]]))
    assert counts.tolist() == [[[0, 3, 0], [1, 0, 2]], [[2, 1, 0], [2, 1, 0]]]


def test_interval_holds_the_value_and_widens_with_confidence():
    of_arm = codes(clusters(0, EVEN), clusters(1, UNEVEN))
    wide, narrow = (mauve_interval(value(of_arm), of_arm, mauve, Settings(level, 500)) for level in (0.99, 0.5))
    assert 0 <= wide.low < narrow.low < value(of_arm) < narrow.high < wide.high <= 1


def test_interval_is_about_as_wide_as_the_spread_over_new_texts():
    """One sd claimed, against the sd over fresh samples of 100 texts; unpaired or seedless draws claim less."""
    few_kinds = (0.7, 0.2, 0.07, 0.03)
    arms = [codes(clusters(2 * i, EVEN), clusters(2 * i + 1, few_kinds)) for i in range(40)]
    settings = Settings(0.6827, 300)
    claimed = np.mean([value(arm) - mauve_interval(value(arm), arm, mauve, settings).low for arm in arms])
    assert 0.8 < claimed / np.std([value(arm) for arm in arms], ddof=1) < 1.5


@pytest.mark.parametrize("another", ["{}", "{}.window-2"])
def test_samples_of_a_prompt_and_windows_of_a_document_are_drawn_together(another: str):
    """Twice the same texts is no new evidence: separate draws would shrink the interval by √2."""
    once = codes(clusters(0, EVEN), clusters(1, UNEVEN))
    ids = (*once.ids, *(another.format(one) for one in once.ids))
    twice = Codes(ids, np.tile(once.human, (2, 1)), np.tile(once.generated, (2, 1)), once.clusters)
    assert value(twice) == pytest.approx(value(once))
    expected = mauve_interval(value(once), once, mauve, SETTINGS)
    assert mauve_interval(value(once), twice, mauve, SETTINGS) == pytest.approx(expected)


def test_few_texts_have_no_interval_and_no_comparison():
    of_arm = codes(clusters(0, EVEN, 10), clusters(1, EVEN, 10))
    assert all(math.isnan(end) for end in mauve_interval(value(of_arm), of_arm, mauve, SETTINGS))
    (found,) = compare_mauve({"a": of_arm, "b": of_arm}, mauve, "mauve", "b", SETTINGS)
    assert math.isnan(found.p)
    assert "fewer than 20" in found.difference.note


def shared(*generated: np.ndarray, human: np.ndarray) -> dict[str, Codes]:
    n = len(human)
    labels = quantise(np.vstack([*generated, human]), round(n / 10), SEEDS)
    ids = tuple(map(str, range(n)))
    return {f"{i}": Codes(ids, labels[-n:], labels[i * n : (i + 1) * n], round(n / 10)) for i in range(len(generated))}


def test_a_clear_difference_is_found_and_none_is_not():
    human, near = clusters(0, EVEN), clusters(1, EVEN)
    arms = shared(near, near, clusters(2, UNEVEN), human=human)
    same, other = compare_mauve(arms, mauve, "mauve", "0", SETTINGS)
    assert (same.arm, same.against, same.metric) == ("1", "0", "mauve")
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)
    assert other.difference.high < 0
    assert other.p < 0.05
    assert other.p_holm == pytest.approx(2 * other.p)
    assert other.difference.value == pytest.approx(value(arms["2"]) - value(arms["0"]))


def test_prompts_of_one_arm_only_are_dropped_and_counted():
    """The rest is compared as if they had never been there."""
    human, near, far = clusters(0, EVEN), clusters(1, EVEN), clusters(2, UNEVEN)
    arms = shared(near, far, human=human)

    def part(of_arm: Codes, rows: slice) -> Codes:
        return Codes(of_arm.ids[rows], of_arm.human[rows], of_arm.generated[rows], of_arm.clusters)

    whole = {label: part(a, slice(10, 90)) for label, a in arms.items()}
    (clean,) = compare_mauve(whole, mauve, "mauve", "0", SETTINGS)
    gaps = {"0": part(arms["0"], slice(0, 90)), "1": part(arms["1"], slice(10, 100))}
    (found,) = compare_mauve(gaps, mauve, "mauve", "0", SETTINGS)
    assert (found.difference.n, found.difference.missing) == (80, 20)
    assert found.difference.value == pytest.approx(clean.difference.value)
    assert found.difference.low == pytest.approx(clean.difference.low)


def test_an_unknown_arm_is_refused():
    with pytest.raises(ValueError, match="'c' is not among"):
        compare_mauve({}, mauve, "mauve", "c", SETTINGS)


def test_same_seed_same_clusters_and_no_global_generator_moves():
    features = np.vstack([clusters(0, EVEN), clusters(1, UNEVEN)])
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    np.testing.assert_array_equal(quantise(features, 10, SEEDS), quantise(features, 10, SEEDS))
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())


def test_faiss_is_silent_and_others_are_not():
    """File descriptor 2 itself, which Python's redirection does not reach, comes back after the call."""
    code = (
        "import os, numpy as np; from cdeval.metrics.codebook import quantise; "
        "quantise(np.eye(8), 3, range(2)); os.write(2, b'alive')"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=120)
    assert done.stderr == b"alive"
    assert done.stdout == b""


def test_stderr_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), module.silence():
        _ = 1 / 0
    print("still here", file=sys.stderr)  # noqa: T201
    assert "still here" in capfd.readouterr().err


def many(texts: int, samples: int = 1) -> Codes:
    rng = np.random.default_rng(0)
    ids = tuple(str(prompt) for prompt in range(texts // samples) for _ in range(samples))
    human, generated = rng.integers(0, texts // 10, (2, texts, 2))
    return Codes(ids, human, generated // 2, texts // 10)


@pytest.mark.parametrize("measure", [mauve, mauve_star, frontier_integral])
def test_the_resamples_are_those_of_matrices_with_a_row_for_every_text(measure: Statistic) -> None:
    of_arm = many(60, samples=2)
    prompts = tuple(dict.fromkeys(of_arm.ids))[5:]
    found = module._resampled(of_arm, prompts, measure, SETTINGS)
    column = {prompt: index for index, prompt in enumerate(prompts)}
    place = [column.get(prompt, len(prompts)) for prompt in of_arm.ids]
    eye = np.eye(of_arm.clusters)

    def values(weights: np.ndarray) -> np.ndarray:
        of_texts = np.hstack([weights, np.zeros((len(weights), 1))])[:, place]
        sides = [[of_texts @ eye[side[:, book]] for side in (of_arm.human, of_arm.generated)] for book in range(2)]
        return measure(np.array(sides).transpose(2, 0, 1, 3))

    n, draws = len(prompts), resample_counts(25, SETTINGS.draws, SETTINGS.seed)
    shares = resample_counts(2, SETTINGS.draws, SETTINGS.seed + 1) / 2
    np.testing.assert_allclose(found.by_codebook, values(np.ones((1, n)))[0], rtol=1e-12)
    np.testing.assert_allclose(found.draws, (values(draws) * shares).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.left_out, values(1 - np.eye(n)).mean(axis=1), rtol=1e-12)


def test_many_prompts_take_the_memory_of_their_texts_and_say_that_groups_are_drawn() -> None:
    """Matrices of prompts by prompts and of texts by clusters were made: 100 000 prompts would have taken 8 GB each."""
    of_arm = many(12_000)
    tracemalloc.start()
    found = module._resampled(of_arm, of_arm.ids, frontier_integral, Settings(draws=50))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(of_arm.ids) * of_arm.clusters
    assert len(found.left_out) == 2000
    (compared,) = compare_mauve({"a": of_arm, "b": of_arm}, frontier_integral, "fi", "b", Settings(draws=50))
    assert "drawn in 2000 groups" in compared.difference.note


def test_intervals_of_groups_are_as_wide_as_those_of_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    human, generated = rng.binomial(9, [[0.3], [0.5]], (2, 6000, 2, 2)).sum(axis=3) // 2
    of_arm = Codes(tuple(map(str, range(6000))), human, generated, 10)
    errors = {}
    for most in (5000, 6000):
        monkeypatch.setattr(stats, "MANY", most)
        module._resampled.cache_clear()
        found = module._resampled(of_arm, of_arm.ids, frontier_integral, SETTINGS)
        errors[len(found.left_out)] = found.standard_error()
    assert errors[2000] == pytest.approx(errors[6000], rel=0.1)
