"""A prompt is one prompt, however its samples are written and in whichever arms it stands: one check for all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cdeval.errors import TextsError
from cdeval.records import Generation

_SHOWN = 60  # letters of a prompt in a message


def one_reference_a_prompt(texts: Sequence[Generation], where: str) -> tuple[Generation, ...]:
    """The texts, each with its prompt's reference and a sample number of its own; samples may stand anywhere.

    A reference may be written with one of a prompt's samples alone.

    Args: texts: of one arm. where: it was read, for messages.
    Raises: TextsError: one id stands for two prompts or two references.
    """
    prompts: dict[str, Generation] = {}
    references: dict[str, Generation] = {}
    for text in texts:
        first = prompts.setdefault(text.id, text)
        if not same_prompt(first.prompt, text.prompt):
            raise TextsError(
                f"{where}: the id {text.id!r} stands for two prompts, {_short(first.prompt)} and "
                f"{_short(text.prompt)}: expected different ids for different prompts."
            )
        if text.reference is not None:
            known = references.setdefault(text.id, text).reference
            if known != text.reference:
                raise TextsError(
                    f"{where}: the prompt {text.id!r} has two references, {_short(known or '')} and "
                    f"{_short(text.reference)}: expected one a prompt. Give the items different ids, or leave one out."
                )
    taken: dict[str, set[int]] = {}
    found = []
    for text in texts:
        used = taken.setdefault(text.id, set())
        sample = text.sample if text.sample not in used else max(used) + 1
        used.add(sample)
        reference = references[text.id].reference if text.id in references else None
        found.append(replace(text, sample=sample, reference=reference))
    return tuple(found)


def check_same_prompts(arms: Mapping[str, Sequence[Generation]]) -> None:
    """Check that an id is the same prompt in all arms, by which texts are paired; spaces and line ends may differ.

    An arm without any prompts, as files of continuations alone are, is taken at its ids.

    Args: arms: texts by label, as messages call them.
    Raises: TextsError: an id stands for different prompts; names both.
    """
    known: dict[str, tuple[str, str]] = {}
    for label, texts in arms.items():
        if not any(text.prompt for text in texts):
            continue
        for text in texts:
            other, prompt = known.setdefault(text.id, (label, text.prompt))
            if not same_prompt(prompt, text.prompt):
                raise TextsError(
                    f"{other!r} and {label!r} have different prompts under the id {text.id!r}, {_short(prompt)} and "
                    f"{_short(text.prompt)}: texts of different prompts cannot be compared as a pair. Give equal ids "
                    "to equal prompts alone, or leave the ids out: then the prompts themselves are compared."
                )


def same_prompt(one: str, other: str) -> bool:
    """Whether two prompts are the same but for spaces and line ends."""
    return one == other or one.split() == other.split()


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
