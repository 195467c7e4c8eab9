"""Repetition onset, longest repeated span, entity overlap, distinct-n, self-BLEU: by hand, and against naive loops."""

import math
import random

import numpy as np
import pytest

from cdeval.config.metrics import METRICS
from cdeval.config.schema import MetricsConfig
from cdeval.metrics.distinct import distinct
from cdeval.metrics.entities import mentions, overlap
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.longest import longest_of, longest_repeat
from cdeval.metrics.means import Means, measured
from cdeval.metrics.onset import onset
from cdeval.metrics.self_bleu import LIMIT, self_bleu
from cdeval.records import Estimate, Generation


def naive_longest(words: list[str]) -> int:
    """Every pair of positions, word by word."""
    best = 0
    for first in range(len(words)):
        for second in range(first + 1, len(words)):
            length = 0
            while second + length < len(words) and words[first + length] == words[second + length]:
                length += 1
            best = max(best, length)
    return best


def test_the_longest_repeat_is_that_of_every_pair_of_positions() -> None:
    rng = random.Random(0)
    for _ in range(600):
        words = [rng.choice("abc"[: rng.randint(1, 3)]) for _ in range(rng.randint(0, 16))]
        assert longest_repeat(words) == naive_longest(words), words


def test_a_loop_of_many_words_is_counted_in_full_and_in_time() -> None:
    """A quadratic search would take minutes here."""
    assert longest_repeat(["a", "b", "c"] * 20_000) == 60_000 - 3


def test_longest_repeats_of_empty_and_short_texts() -> None:
    found = [longest_of(text) for text in ("", " ", "one", "one one")]
    np.testing.assert_array_equal(found, [math.nan, math.nan, 0, 1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c d e a b c d e", 5),
        ("no no no no no", 1),  # occurrences overlap
        ("a b c d a b c e", math.nan),  # three words again are not four
        ("x a b c d a b c d", 5),
        ("", math.nan),
        ("a b c d", math.nan),
    ],
)
def test_onset_by_hand(text: str, expected: float) -> None:
    assert onset(text) == pytest.approx(expected, nan_ok=True)


def test_onset_is_where_the_first_ngram_comes_again() -> None:
    rng = random.Random(1)
    for _ in range(200):
        words = [rng.choice("ab") for _ in range(rng.randint(0, 20))]
        starts = [i for i in range(len(words) - 3) if any(words[i : i + 4] == words[j : j + 4] for j in range(i))]
        assert onset(" ".join(words)) == pytest.approx(starts[0] if starts else math.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        (" met Mary Smith.", "Then he", ["Mary Smith"]),
        (" Mary met", "Then he left.", []),  # begins a sentence: its capital says nothing
        (" Mary met", "Then he told", ["Mary"]),  # goes on with one
        ("He met Mary. She saw Ann Lee", "", ["Mary", "Ann Lee"]),
        ("He met Mary, Ann and Bob's dog", "", ["Mary", "Ann", "Bob"]),  # a comma ends a name
        ("He met Mr. Smith and J. K. Lee", "", ["Mr Smith", "J K Lee"]),  # a title's point ends no sentence
        ("He said I know and I'm sure", "", []),
        ('He said "We know Ann"', "", ["Ann"]),  # a quotation begins a sentence
        ("in (New York) he", "so", ["New York"]),
        ("Title\nBody goes on in Paris", "", ["Paris"]),
        ("er kam nach Köln und sah Ärzte", "", ["Köln", "Ärzte"]),
        ("他去了北京", "", []),
        ("", "", []),
    ],
)
def test_mentions_by_hand(text: str, after: str, expected: list[str]) -> None:
    assert mentions(text, after) == expected


def test_overlap_counts_mentions_that_the_prompt_holds() -> None:
    """Whole words only, anywhere in the prompt; texts without mentions are missing, not zero."""
    prompts = ["Mary Smith of New York said", "Annabel said", "nobody said"]
    texts = [" that Mary met Bob in New York.", " that Ann left", " nothing"]
    rows = [overlap(*pair) for pair in zip(prompts, texts, strict=True)]
    np.testing.assert_array_equal(rows, [[2, 3], [0, 1], [math.nan, math.nan]])


def test_distinct_by_hand() -> None:
    """a b, a c: 3 of 4 words differ, 2 of 2 bigrams; equal texts share their n-grams, unlike in rep-n."""
    assert distinct(["a b", "a c"], 1) == (0.75, 0)
    assert distinct(["a b", "a c", "x", ""], 2) == (1.0, 2)
    assert distinct(["a b", "a b"], 2).value == 0.5
    assert math.isnan(distinct([], 1).value)


def test_self_bleu_knows_equal_from_unlike_texts() -> None:
    same = ["the quick brown fox jumps over the dog"] * 3
    unlike = ["one two three four five", "six seven eight nine ten", "red green blue black white"]
    assert self_bleu(same).value == pytest.approx(1)
    assert self_bleu(unlike).value < 0.1
    assert math.isnan(self_bleu(["only one", " "]).value)
    many = self_bleu([f"text number {i} of many others" for i in range(LIMIT + 30)], seed=1)
    assert (many.used, many.present) == (LIMIT, LIMIT + 30)


def test_self_bleu_is_sacrebleus_of_each_text_against_the_others() -> None:
    import sacrebleu

    texts = ["a b c d e f", "a b c d x y", "a b q r s t u"]
    singles = [
        sacrebleu.sentence_bleu(text, [other for other in texts if other is not text], use_effective_order=True).score
        for text in texts
    ]
    assert self_bleu(texts).value == pytest.approx(np.mean(singles) / 100)


def test_each_metric_says_why_no_text_has_a_value() -> None:
    """ "No text has a value" is no reason: languages without spaces have one word a text."""
    texts = [Generation(f"{i}", "上", (), None, "所以他们把牛赶到山上去了。", (), None, None) for i in range(3)]
    reasons = {
        "diversity": "no text has 4 words with spaces between them",
        "rep_2": "no text has 2 words with spaces between them",
        "repetition_onset": "no text has a 4-gram twice",
        "entity_overlap": "no text has such a name",
    }
    means = Means(Judges(None, ""), MetricsConfig(bootstrap_draws=50))

    def estimate(name: str, of: list[Generation]) -> Estimate:
        return measured(METRICS[name].of_arm(of, means), means.settings).estimate

    for name, reason in reasons.items():
        found = estimate(name, texts)
        assert math.isnan(found.value)
        assert reason in found.note
    assert "no text has 2 words" in estimate("distinct_2", texts[:1]).note
    assert estimate("self_bleu", texts[:1]).note == "fewer than two texts are not empty"
