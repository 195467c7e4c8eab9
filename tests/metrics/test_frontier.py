import math

import numpy as np
import pytest

from cdeval.metrics import frontier as module
from cdeval.metrics.frontier import area, divergence_curve, frontier_integral, mauve, normalised, smoothed


def histograms(seed: int, clusters: int, pairs: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(60, rng.dirichlet(np.full(clusters, 0.5))) for _ in range(2 * pairs)]
    return np.array(drawn[::2]), np.array(drawn[1::2])


@pytest.mark.parametrize("clusters", [2, 10, 30])
def test_equals_mauve_text(clusters: int):
    """All four values, empty clusters included: another order of the curve or another log would show."""
    reference = pytest.importorskip("mauve.compute_mauve")
    from sklearn.metrics import auc

    def theirs(p: np.ndarray, q: np.ndarray) -> float:
        weights = np.linspace(1e-6, 1 - 1e-6, 25)
        x, y = reference.get_divergence_curve_for_multinomials(p, q, weights, 5).T
        by_x, by_y = np.argsort(x), np.argsort(y)
        return 0.5 * (auc(x[by_x], y[by_x]) + auc(y[by_y], x[by_y]))

    human, generated = histograms(0, clusters)
    for share in (normalised, smoothed):
        p, q = share(human), share(generated)
        np.testing.assert_allclose(mauve(p, q), [theirs(*pair) for pair in zip(p, q, strict=True)], rtol=1e-12)
        expected = [reference.get_fronter_integral(*pair) for pair in zip(p, q, strict=True)]
        np.testing.assert_allclose(frontier_integral(p, q), expected, rtol=1e-9, atol=1e-12)


def test_equal_histograms_are_one_and_disjoint_ones_nearly_nothing():
    """The curve of equal histograms is one point, which mauve-text integrates to anything from 0.5 to 1."""
    equal, other = np.array([0.25, 0.75, 0.0]), np.array([0.0, 0.0, 1.0])
    assert mauve(equal, equal) == pytest.approx(1.0)
    assert frontier_integral(equal, equal) == pytest.approx(0.0)
    assert 0 < mauve(equal, other) < 0.01
    assert frontier_integral(equal, other) == pytest.approx(1.0)


def test_curve_by_hand():
    """Half of the mass apart: at w = 1/2, KL(P|R) = KL(Q|R) = ½·ln 2, so the middle is at 2^(−5/2) on both axes."""
    curve = divergence_curve(np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.0, 0.5]))
    assert curve.shape == (27, 2)
    np.testing.assert_allclose(curve[0], [1, 0])
    np.testing.assert_allclose(curve[-1], [0, 1])
    np.testing.assert_allclose(curve[13], 2**-2.5)
    assert (np.diff(curve[:, 0]) <= 0).all()


def test_area_of_a_triangle_from_either_side():
    triangle = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert area(triangle) == 0.5
    assert area(triangle[::-1, ::-1]) == 0.5


def test_frontier_integral_is_the_integral():
    """The closed form against the definition, summed over a fine grid of mixtures."""
    p, q = np.array([0.7, 0.2, 0.1, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    weights = (np.arange(20000) + 0.5) / 20000

    def kl(a: np.ndarray, r: np.ndarray) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, r, strict=True) if x > 0)

    mixed = [(w, w * p + (1 - w) * q) for w in weights[::20]]
    integral = 2 * np.mean([w * kl(p, r) + (1 - w) * kl(q, r) for w, r in mixed])
    assert frontier_integral(p, q) == pytest.approx(integral, rel=1e-3)


def test_smoothing_adds_one_half_a_cluster():
    np.testing.assert_allclose(smoothed(np.array([3, 0])), [3.5 / 4, 0.5 / 4])
    assert np.isnan(normalised(np.array([0, 0]))).all()


def test_parts_of_bounded_memory_change_nothing(monkeypatch: pytest.MonkeyPatch):
    p, q = (normalised(counts).reshape(4, 5, 10) for counts in histograms(3, 10))
    whole = mauve(p, q)
    assert whole.shape == (4, 5)
    monkeypatch.setattr(module, "_LARGEST", 3 * module.POINTS * 10)
    np.testing.assert_array_equal(mauve(p, q), whole)
