"""Run folders of several points, where other processes may work on the same study, and the checks of what they hold.

A process first takes the folders that it can get, and decodes those. Then, holding none, it takes all of them in one
order, waiting where another writes: whoever waits holds only folders that come before, so no two wait for each other.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeAlias

import yaml

from cdeval.config.enums import Ban
from cdeval.config.points import Point
from cdeval.config.setting import Setting
from cdeval.errors import StorageError
from cdeval.records import Generation, Prompt
from cdeval.store.folder import GENERATIONS, BusyError, Key, RunFolder

Texts: TypeAlias = dict[Point, list[Generation]]  # in the order of the prompts, the samples of each together

_POLL = 0.2  # seconds between two looks at a folder that another process writes
# The one in C is several times as fast, and every point's settings are read again by the next command.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def take_free(
    points: Iterable[Point], root: Path, failed: Callable[[Point, Exception], None], held: ExitStack
) -> dict[Point, RunFolder]:
    """Take the run folders that no other process writes.

    Args:
        points: of the study, in its order.
        root: the study's folder.
        failed: told of a point whose folder is broken.
        held: lets the folders go when it is closed.

    Returns: the folders in the order of the points.
    """
    found = {}
    for point in points:
        try:
            found[point] = held.enter_context(RunFolder(root / point.folder))
        except BusyError:
            continue
        except StorageError as error:
            failed(point, error)
    return found


def take_all(
    points: Sequence[Point], root: Path, failed: Callable[[Point, Exception], None], held: ExitStack
) -> dict[Point, RunFolder]:
    """Take all run folders, once no other process writes them; arguments and return as of `take_free`."""
    found: dict[Point, RunFolder] = {}
    for point in sorted(points, key=lambda point: point.folder):
        while point not in found:
            try:
                found[point] = held.enter_context(RunFolder(root / point.folder))
            except BusyError:
                time.sleep(_POLL)
            except StorageError as error:
                failed(point, error)
                break
    return {point: found[point] for point in points if point in found}


def settings_of_record(folder: RunFolder, asked: Mapping[str, object], *, begun: bool) -> dict[str, object]:
    """Put together the settings that `config.yaml` is to hold: as they are asked for now.

    But a folder that has texts keeps the names of its models, which provenance.json has, too: the same models may be
    asked for by another name now.

    Args:
        folder: of the point.
        asked: its settings as plain values.
        begun: whether it has texts.
    """
    before: object = None
    if begun:
        with suppress(OSError, ValueError, RecursionError, yaml.YAMLError):  # lost or broken: as asked for
            before = yaml.load((folder.path / "config.yaml").read_bytes(), Loader=_Loader)  # noqa: S506 - a safe one
    kept = before if isinstance(before, dict) else {}
    return dict(asked) | {name: kept[name] for name in ("expert", "amateur") if isinstance(kept.get(name), dict)}


def human_texts(prompts: Iterable[Prompt], stored: Mapping[Key, Generation]) -> list[Generation]:
    """Make texts of the prompts' references, without those that are stored already."""
    return [
        Generation(
            id=prompt.id,
            prompt=prompt.text,
            prompt_token_ids=prompt.token_ids,
            reference=prompt.reference,
            continuation=prompt.reference,
            token_ids=prompt.reference_token_ids or (),
            logprob_expert=None,
            score=None,
        )
        for prompt in prompts
        if prompt.reference is not None and (prompt.id, 0) not in stored
    ]


def in_order(stored: Mapping[Key, Generation], prompts: Sequence[Prompt], samples: int) -> list[Generation]:
    """Pick the stored texts that continue these prompts, in the order of the prompts, the samples of each together.

    Args:
        stored: texts by key.
        prompts: of the study.
        samples: texts a prompt.
    """
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
    return [stored[key] for key in keys if key in stored]


def check_stored(
    point: Point, stored: Mapping[Key, Generation], prompts: Sequence[Prompt], vocabulary: int, folder: Path
) -> None:
    """Check that the texts of a run folder can be those of a point: a line that is none of its texts is not scored.

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
