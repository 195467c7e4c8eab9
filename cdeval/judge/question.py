"""The question that a language model is asked about two texts, and its answer in probabilities."""

import hashlib
from collections.abc import Mapping

from cdeval.errors import ModelError
from cdeval.judge.config import JudgeConfig

LETTERS = ("A", "B", "C")  # the first text, the second, neither
_LEAST = 1e-6  # of the probability on the letters together, below which there is no answer


def question(judge: JudgeConfig, prompt: str, first: str, second: str) -> str:
    """Write the words that the judge reads."""
    choices = "A, B, or C if both are equally good" if judge.ties else "A or B"
    return (
        "Here is the beginning of a text, and two ways to go on with it.\n\n"
        f"Beginning:\n{prompt.strip()}\n\nContinuation A:\n{first.strip()}\n\nContinuation B:\n{second.strip()}\n\n"
        f"{judge.question} Answer with one letter: {choices}."
    )


def question_digest(judge: JudgeConfig) -> str:
    """SHA-256 of what the judge is asked, whatever the texts: answers to another question are others."""
    return hashlib.sha256(question(judge, "p", "a", "b").encode()).hexdigest()


def letters_of(judge: JudgeConfig) -> tuple[str, ...]:
    """The letters that the judge may answer with."""
    return LETTERS if judge.ties else LETTERS[:2]


def shares(found: Mapping[str, float], judge: JudgeConfig, who: str) -> tuple[float, float, float]:
    """Turn probabilities of letters into those of the three answers.

    Args: found: by letter; a letter that is missing has none. who: the judge, for the message.
    Raises: ModelError: it gives none of them a probability worth the name, and so answers something else.
    """
    weights = [found.get(letter, 0.0) for letter in letters_of(judge)]
    total = sum(weights)
    if not total >= _LEAST:  # NaN neither
        raise ModelError(
            f"{who} does not answer with one of {', '.join(letters_of(judge))}: together they have the probability "
            f"{total:.2g}. Give another judge.question, or another judge."
        )
    first, second, tie = (weight / total for weight in [*weights, 0.0][:3])
    return first, second, tie
