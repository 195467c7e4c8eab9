import itertools
import math
import time

import numpy as np
import pytest
from scipy.stats import ttest_rel

from cdeval.metrics import compare
from cdeval.metrics.compare import ArmRows, Settings, compare_arms, counted, holm, pair_rows, with_holm
from cdeval.metrics.diversity import diversity
from cdeval.metrics.stats import ratio_of_sums

SETTINGS = Settings(draws=2000)


def arm(values: np.ndarray, ids: list[str] | None = None) -> ArmRows:
    names = ids or [f"{i}" for i in range(len(values))]
    return ArmRows(tuple(names), counted(np.asarray(values, dtype=np.float64).reshape(-1, 1)))


def means(seed: int, n: int, shift: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=n)
    return shared + 0.3 * rng.normal(size=n) + shift, shared + 0.3 * rng.normal(size=n)


def of_two(ours: ArmRows, theirs: ArmRows, settings: Settings = SETTINGS):
    (found,) = compare_arms({"ours": ours, "theirs": theirs}, ratio_of_sums, "score", "theirs", settings)
    return found


def test_agrees_with_the_paired_t_test_on_normal_data():
    """For means of normal data the studentised bootstrap is the t-test: unpaired, the interval is three times wider."""
    ours, theirs = means(0, 80)
    found, known = of_two(arm(ours), arm(theirs)), ttest_rel(ours, theirs)
    low, high = known.confidence_interval(0.95)
    assert found.difference.value == pytest.approx((ours - theirs).mean())
    assert found.difference.low == pytest.approx(low, abs=0.12 * (high - low))
    assert found.difference.high == pytest.approx(high, abs=0.12 * (high - low))
    ours, theirs = means(1, 80, shift=0.08)
    assert of_two(arm(ours), arm(theirs)).p == pytest.approx(ttest_rel(ours, theirs).pvalue, abs=0.03)


def test_the_standard_error_of_a_ratio_is_the_delta_methods():
    """A slip in the numerical slopes changes the detectable difference; here it is worked out by hand."""
    rng = np.random.default_rng(2)
    rows = rng.uniform(1, 9, size=(60, 2))
    flat = np.tile([1.0, 2.0], (60, 1))
    ids = tuple(map(str, range(60)))
    arms = {"a": ArmRows(ids, rows), "b": ArmRows(ids, flat)}
    (found,) = compare_arms(arms, ratio_of_sums, "ratio", "b", SETTINGS)
    ratio = rows[:, 0].sum() / rows[:, 1].sum()
    by_hand = np.std(rows[:, 0] - ratio * rows[:, 1], ddof=1) / rows[:, 1].mean() / math.sqrt(60)
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * by_hand, rel=1e-4)
    assert found.difference.value == pytest.approx(ratio - 0.5)


def test_the_p_value_inverts_the_interval():
    """p is at most 5 % exactly where the 95 % interval excludes 0."""
    sides = []
    for seed in range(60):
        ours, theirs = means(seed, 30, shift=0.15)
        found = of_two(arm(ours), arm(theirs), Settings(draws=999, seed=seed))
        sides.append(found.p <= 0.05)
        if abs(found.p - 0.05) > 0.002:
            assert (found.p <= 0.05) == (found.difference.low > 0 or found.difference.high < 0)
    assert 5 < sum(sides) < 55


def test_a_detectable_difference_is_found_eight_times_of_ten():
    rng = np.random.default_rng(3)
    n, sd = 60, 0.5
    known = compare.detectable(sd / math.sqrt(n), 0.95)
    found = [
        of_two(arm(rng.normal(known, sd, size=n)), arm(np.zeros(n)), Settings(draws=400, seed=i)).p < 0.05
        for i in range(300)
    ]
    assert 0.73 < np.mean(found) < 0.87


def test_pairs_with_a_missing_side_are_dropped_and_counted():
    """The rest compares as if they had never been there: a NaN taken for 0 would move the difference."""
    ours, theirs = means(4, 40)
    clean = of_two(arm(ours[2:38]), arm(theirs[2:38]))
    ours[0] = theirs[1] = math.nan
    ids = [f"{i}" for i in range(40)]
    found = of_two(arm(ours[:38], ids[:38]), arm(theirs[:39], ids[:39]))
    assert (found.difference.n, found.difference.missing) == (36, 3)
    assert found.difference.value == pytest.approx(clean.difference.value)
    assert found.difference.low == pytest.approx(clean.difference.low)


def test_the_order_of_prompts_is_not_what_pairs_them():
    ours, theirs = means(5, 40)
    found = of_two(arm(ours), arm(theirs))
    turned = of_two(arm(ours), arm(theirs[::-1], [f"{i}" for i in reversed(range(40))]))
    assert turned == found


def test_samples_of_a_prompt_are_one_unit():
    """Ten copies of each text are no new evidence; as units of their own they would shrink the interval by √10."""
    ours, theirs = means(6, 40)
    once = of_two(arm(ours), arm(theirs))
    ids = [f"{i}" for i in range(40)] * 10
    many = of_two(arm(np.tile(ours, 10), ids), arm(np.tile(theirs, 10), ids))
    assert many.difference.n == 40
    assert many.difference.low == pytest.approx(once.difference.low)
    assert many.detectable == pytest.approx(once.detectable)


def test_windows_of_a_document_are_paired_by_themselves_and_drawn_together():
    ours, theirs = means(6, 40)
    once = of_two(arm(ours), arm(theirs))
    ids = [f"{i}.window-{k}" for k in range(1, 11) for i in range(40)]
    many = of_two(arm(np.tile(ours, 10), ids), arm(np.tile(theirs, 10), [*ids[:-1], "39.window-12"]))
    assert (many.difference.n, many.difference.missing) == (399, 2)
    assert many.difference.low == pytest.approx(once.difference.low, abs=0.01)
    assert many.detectable == pytest.approx(once.detectable, rel=0.05)


def test_a_missing_sample_leaves_the_others_of_its_prompt():
    pairs = pair_rows(arm(np.array([1.0, math.nan, 4.0]), ["a", "a", "b"]), arm(np.array([2.0, 3.0]), ["a", "b"]))
    assert pairs.arm.tolist() == [[1, 1], [4, 1]]
    assert pairs.missing == 0


def test_diversity_as_it_is_scored():
    rng = np.random.default_rng(7)
    totals = np.tile([99, 98, 97], (50, 1))
    rows = [np.hstack([rng.integers(60, 97, size=(50, 3)), totals]).astype(float) for _ in range(2)]
    arms = {name: ArmRows(tuple(map(str, range(50))), values) for name, values in zip("ab", rows, strict=True)}
    (found,) = compare_arms(arms, diversity, "diversity", "a", SETTINGS)
    assert found.difference.value == pytest.approx(diversity(rows[1]) - diversity(rows[0]))


def test_a_mean_over_rows_is_refused():
    """The mean of per-prompt sums is no mean of texts: silently wrong as soon as a prompt has two samples."""
    mean = lambda rows: np.asarray(rows[..., 0].mean(axis=-1))  # noqa: E731
    with pytest.raises(ValueError, match=r"ratio_of_sums.*counted"):
        compare_arms({"a": arm(np.arange(5.0)), "b": arm(np.arange(5.0))}, mean, "mean", "a", SETTINGS)


def test_equal_arms_and_constant_differences():
    values = np.arange(30.0)
    same = of_two(arm(values), arm(values))
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)
    shifted = of_two(arm(values + 1), arm(values))
    assert shifted.difference.value == pytest.approx(1)
    assert shifted.difference.low == pytest.approx(1)
    assert shifted.p < 0.01


@pytest.mark.parametrize("differing", [1, 2, 3, 8])
def test_an_interval_takes_prompts_that_differ(differing: int):
    """A draw without any of them has a spread of rounding errors: dividing by it gave intervals of millions."""
    rng = np.random.default_rng(0)
    theirs = np.hstack([rng.integers(60, 90, (48, 3)), np.full((48, 3), 100)]).astype(np.float64)
    ours = theirs.copy()
    ours[:differing, :3] -= rng.integers(20, 60, (differing, 3))
    ids = tuple(map(str, range(48)))
    arms = {"ours": ArmRows(ids, ours), "theirs": ArmRows(ids, theirs)}
    (found,) = compare_arms(arms, diversity, "diversity", "theirs", SETTINGS)
    assert found.difference.value < 0
    if differing < 3:  # (1 - 2 / 48)^48 of the draws hold none: more than the 5 % that the interval leaves out
        assert math.isnan(found.difference.low)
        assert "too few prompts differ" in found.difference.note
        assert found.p > 0.05
    else:
        assert -1 < found.difference.low < found.difference.value < found.difference.high < 1


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_have_no_comparison(n: int):
    found = of_two(arm(np.ones(n)), arm(np.ones(3)))
    assert all(map(math.isnan, (found.difference.value, found.p, found.p_holm, found.detectable)))
    assert (found.difference.n, found.difference.missing) == (n, 3 - n)
    assert "fewer than two" in found.difference.note


@pytest.mark.parametrize(("n", "tested"), [(2, False), (4, False), (19, False), (20, True)])
def test_few_pairs_have_a_difference_and_nothing_that_says_how_sure_it_is(n: int, tested: bool):
    """The spread of four prompts is a guess: their difference of diversity was -0.997 (-312 to +310), p = 0.9."""
    ours, theirs = means(10, n)
    found = of_two(arm(ours), arm(theirs, [*map(str, range(n))]))
    assert found.difference.value == pytest.approx((ours - theirs).mean())
    numbers = (found.difference.low, found.difference.high, found.p, found.p_holm, found.detectable)
    assert list(map(math.isfinite, numbers)) == [tested] * 5
    assert ("fewer than 20 prompts" in found.difference.note) is not tested


def test_prompts_without_a_value_do_not_count_as_pairs():
    """Texts of one word have no n-gram, and their rows are zeros: there are 15 pairs, not 40."""
    rng, totals = np.random.default_rng(12), np.tile([99.0, 98.0, 97.0], (40, 1))
    rows = [np.hstack([rng.integers(60, 97, size=(40, 3)), totals]) for _ in range(2)]
    rows[1][15:] = 0
    arms = {name: ArmRows(tuple(map(str, range(40))), values) for name, values in zip("ab", rows, strict=True)}
    (found,) = compare_arms(arms, diversity, "diversity", "a", SETTINGS)
    assert math.isnan(found.p)
    assert math.isnan(found.difference.low)


def test_holm_by_hand_and_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    first, second, third = holm([0.02, math.nan, 0.02])
    assert (first, third) == (0.04, 0.04)
    assert math.isnan(second)
    # Closed testing: a hypothesis falls where Bonferroni rejects every intersection it is in.
    p = [0.012, 0.2, 0.03, 0.009]
    closed = [
        max(
            min(1.0, len(some) * min(p[j] for j in some))
            for size in range(1, 5)
            for some in itertools.combinations(range(4), size)
            if i in some
        )
        for i in range(4)
    ]
    assert holm(p) == pytest.approx(closed)


def test_a_family_over_metrics_is_corrected_together():
    ours, theirs = means(8, 40)
    once = [of_two(arm(ours), arm(theirs)), of_two(arm(ours), arm(theirs))]
    assert once[0].p_holm == once[0].p
    assert [found.p_holm for found in with_holm(once)] == [2 * once[0].p, 2 * once[1].p]


def test_unknown_arms_and_unequal_rows_are_refused():
    with pytest.raises(ValueError, match="'x' is not among"):
        compare_arms({"a": arm(np.ones(3))}, ratio_of_sums, "score", "x", SETTINGS)
    with pytest.raises(ValueError, match="a row a prompt"):
        ArmRows(("a",), np.ones((2, 1)))


def test_seed_decides_and_global_state_stays():
    ours, theirs = (arm(values) for values in means(9, 30))
    before = np.random.get_state()[1].copy()
    assert of_two(ours, theirs) == of_two(ours, theirs)
    assert of_two(ours, theirs) != of_two(ours, theirs, Settings(draws=2000, seed=1))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_fast_enough_for_a_grid():
    rng = np.random.default_rng(10)
    ids = tuple(map(str, range(300)))
    rows = {f"{i}": ArmRows(ids, rng.integers(1, 100, size=(300, 6)).astype(float)) for i in range(8)}
    start = time.perf_counter()
    compare_arms(rows, diversity, "diversity", "0", SETTINGS)
    assert time.perf_counter() - start < 7.0  # about 0.5 s alone; a Python loop over draws takes far longer
