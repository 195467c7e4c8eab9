"""Check stored texts against the study that reuses them: a line that is none of its texts is named and not scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdeval.config.enums import Ban
from cdeval.config.points import Point
from cdeval.config.setting import Setting
from cdeval.errors import StorageError
from cdeval.records import Generation, Prompt
from cdeval.store.folder import GENERATIONS, Key


def check_stored(
    point: Point, stored: Mapping[Key, Generation], prompts: Sequence[Prompt], vocabulary: int, folder: Path
) -> None:
    """Check that the texts of a run folder can be those of a point.

    Args:
        point: whose folder it is.
        stored: its texts.
        prompts: of the study.
        vocabulary: number of the expert's token ids.
        folder: for the message.

    Raises: StorageError: a text has another prompt or reference than the study, an id or a sample that the study does
        not have, tokens that the expert does not have, or more or fewer tokens than the setting makes.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    wrong = {
        key: problem
        for key, text in stored.items()
        if (problem := _problem(point, text, by_id.get(text.id), vocabulary)) is not None
    }
    if wrong:
        (name, sample), problem = next(iter(wrong.items()))
        more = f", and {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""
        raise StorageError(
            f"{folder / GENERATIONS}: the text for sample {sample} of the prompt {name!r} is not of this study: "
            f"{problem}{more}. Delete its line and run the same command again: only its text is decoded anew."
        )


def _problem(point: Point, text: Generation, prompt: Prompt | None, vocabulary: int) -> str | None:
    if prompt is None:
        return "the study has no such prompt"
    if text.sample >= point.samples:
        return f"the setting makes {point.samples} a prompt, numbered from 0"
    if (text.prompt, text.prompt_token_ids) != (prompt.text, prompt.token_ids):
        return "it continues another prompt under the same id"
    if text.reference != prompt.reference:
        return "its reference is another one"
    setting = point.setting
    return _of_reference(text, prompt) if setting is None else _of_tokens(setting, text, vocabulary)


def _of_reference(text: Generation, prompt: Prompt) -> str | None:
    same = (text.continuation, text.token_ids) == (prompt.reference or "", prompt.reference_token_ids or ())
    return None if same else "it is not the prompt's reference"


def _of_tokens(setting: Setting, text: Generation, vocabulary: int) -> str | None:
    outside = next((token for token in text.token_ids if not 0 <= token < vocabulary), None)
    if outside is not None:
        return f"the token id {outside} is none of the expert's {vocabulary}"
    length, count = setting.max_new_tokens, len(text.token_ids)
    fixed = setting.ban in (Ban.special, Ban.eos)
    if count > length or (fixed and count != length):
        return f"it has {count} tokens, and the setting makes {'' if fixed else 'at most '}{length}"
    return None
