import math

import numpy as np
import pytest

from cdeval.config.enums import DiversityProtocol
from cdeval.metrics.diversity import diversity, ngram_counts, repetition, without_ngrams

PUBLISHED = DiversityProtocol.published


def test_repetition_by_hand():
    """the cat sat the cat ran: 5 bigrams, 4 distinct; 4 trigrams and 3 four-grams, all distinct."""
    counts = ngram_counts(["the cat sat the cat ran"])
    assert counts.tolist() == [[4, 4, 3, 5, 4, 3]]
    np.testing.assert_allclose(repetition(counts), [1 / 5, 0, 0])
    assert diversity(counts) == pytest.approx(4 / 5)


def test_the_last_ngram_counts():
    """simctg's loop stops one short, and so would miss that the last bigram repeats the first."""
    assert repetition(ngram_counts(["a b a b"]))[0] == pytest.approx(1 / 3)


def test_distinct_words_are_fully_diverse():
    assert diversity(ngram_counts(["one two three four five six"])) == 1.0


def test_one_word_forever_has_no_diversity():
    np.testing.assert_allclose(repetition(ngram_counts(["no " * 1001])), [0.999, 998 / 999, 997 / 998])


def test_texts_are_counted_apart_and_divided_together():
    """An n-gram in two texts is unique in both; a long text weighs more than a short one."""
    same = "a b c d e"
    assert diversity(ngram_counts([same, same])) == 1.0
    short, long = "a b", "a a " * 10  # 1 of 1 and 1 of 19 bigrams are unique
    assert repetition(ngram_counts([short, long]))[0] == pytest.approx(1 - 2 / 20)


def test_any_whitespace_separates_words():
    assert ngram_counts(["a\tb\n c  d"]).tolist() == ngram_counts(["a b c d"]).tolist()


def test_short_texts_add_nothing_and_are_counted():
    counts = ngram_counts(["", "one", "one two", "a b c d a b"])
    assert [without_ngrams(counts, order) for order in (2, 3, 4)] == [2, 3, 3]
    assert repetition(counts)[2] == repetition(ngram_counts(["a b c d a b"]))[2]


@pytest.mark.parametrize("texts", [[], [""], ["one two three"]])
def test_no_ngram_is_no_value(texts: list[str]):
    assert math.isnan(diversity(ngram_counts(texts)))


def test_many_resamples_at_once():
    """Leading axes are the bootstrap's: each slice scores as it would alone."""
    counts = ngram_counts(["a a b", "a b c d a b c d", "x y z x y z"])
    picks = np.array([[0, 1, 2], [1, 1, 2]])
    np.testing.assert_array_equal(diversity(counts[picks]), [diversity(counts[pick]) for pick in picks])


def simctg(texts: list[str]) -> tuple[list[float], float]:
    """The published algorithm, spelled out: a window that stops one short, rates rounded before the product."""
    rates, product = [], 1.0
    for order in (2, 3, 4):
        unique = total = 0
        for text in texts:
            words, end, seen = text.strip().split(), order, set()
            while end < len(words):
                seen.add(" ".join(words[end - order : end]))
                total += 1
                end += 1
            unique += len(seen)
        rates.append(round((1 - unique / total) * 100, 2))
        product *= 1 - rates[-1] / 100
    return rates, product


def test_the_published_protocol_is_simctgs_to_the_last_digit():
    texts = ["a b a b a c d a b a", " x y z x y z x ", "one two three four five six one two three four five", "no " * 9]
    rates, product = simctg(texts)
    counts = ngram_counts(texts, PUBLISHED)
    assert [round(100 * rate, 10) for rate in repetition(counts, PUBLISHED)] == rates
    assert float(diversity(counts, PUBLISHED)) == pytest.approx(product, rel=1e-14)
    assert float(diversity(ngram_counts(texts))) != pytest.approx(product, rel=1e-3)


def test_the_published_protocol_by_hand():
    """a b a b: simctg sees a b and b a, not the last a b; 1 of 3 is 33.33 %, not a third."""
    assert ngram_counts(["a b a b"], PUBLISHED).tolist() == [[2, 1, 0, 2, 1, 0]]
    thirds = ngram_counts(["a b a b a x"], PUBLISHED)  # ab ba ab ba: half; aba bab aba: a third
    np.testing.assert_array_equal(repetition(thirds, PUBLISHED)[:2], [0.5, 0.3333])


def test_a_text_of_exactly_n_words_has_no_published_ngram_and_is_counted():
    counts = ngram_counts(["a b c d", "a b c d e"], PUBLISHED)
    assert without_ngrams(counts, 4) == 1


def test_published_rates_resample_like_others():
    counts = ngram_counts(["a a b c d", "a b c d a b c d", "x y z x y z"], PUBLISHED)
    picks = np.array([[0, 1, 2], [1, 1, 2]])
    both = [diversity(counts[pick], PUBLISHED) for pick in picks]
    np.testing.assert_array_equal(diversity(counts[picks], PUBLISHED), both)
