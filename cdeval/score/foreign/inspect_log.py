"""inspect_ai: logs in JSON, one object with all samples, and `.eval` logs, a zip archive with a JSON file a sample.

The epochs of a sample are samples of one prompt. A chat's messages are one prompt, with an empty line between two.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdeval.errors import TextsError, one_line
from cdeval.score.foreign.form import Foreign, Record, as_text, chat_text, first_text, get, message_text
from cdeval.store.item_file import Located

_LARGEST = 1 << 31  # bytes of all samples, unpacked
_SAMPLE = re.compile(r"samples/.+\.json")
_ATTACHED = "attachment://"  # long texts lie once in the sample's attachments


def is_archive(content: bytes) -> bool:
    """Whether a file's content is a zip archive, as `.eval` logs are."""
    return content.startswith(b"PK\x03\x04")


def archived(content: bytes, path: Path) -> list[Located]:
    """Read the samples of an `.eval` log. Raises: TextsError: it is another archive, damaged, or too large."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = sorted((one for one in archive.infolist() if _SAMPLE.fullmatch(one.filename)), key=_order)
            if not members:
                raise TextsError(
                    f"{path} is a zip archive without samples/: expected an .eval log of inspect_ai; unpack any other "
                    "archive, and give the file in it."
                )
            if sum(one.file_size for one in members) > _LARGEST:
                raise TextsError(f"{path} holds more than {_LARGEST >> 30} GiB: give it in several logs.")
            samples = [json.loads(archive.read(one)) for one in members]
    except NotImplementedError as error:
        raise TextsError(
            f"{path} is packed in a way that this Python cannot read ({error}): inspect log convert --to json writes "
            "a log that is read."
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, RecursionError) as error:
        raise TextsError(f"{path} is a damaged .eval log ({one_line(error, 200)}): copy it again.") from error
    read = zip(members, samples, strict=True)
    return [Located(one.filename, place, sample) for place, (one, sample) in enumerate(read, 1)]


def _order(member: zipfile.ZipInfo) -> tuple[object, ...]:
    """Numbers in names by their size, as samples are called 2_epoch_1 and 10_epoch_1."""
    parts = re.split(r"(\d+)", member.filename)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _is_log(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("eval"), Mapping) and isinstance(item.get("samples"), list)


def _is_sample(item: Mapping[str, Any]) -> bool:
    return {"epoch", "input", "target", "output"} <= set(item)


def _of_log(item: Mapping[str, Any], where: str) -> list[Record]:
    samples = [sample for sample in item["samples"] if isinstance(sample, Mapping)]
    return [one for place, sample in enumerate(samples, 1) for one in _of_sample(sample, f"{where}, sample {place}")]


def _of_sample(item: Mapping[str, Any], where: str) -> list[Record]:
    attachments = item.get("attachments") or {}

    def whole(value: object) -> object:
        if isinstance(value, str) and value.startswith(_ATTACHED):
            return attachments.get(value.removeprefix(_ATTACHED), value)
        return value

    given = item.get("input")
    prompt = whole(given) if not isinstance(given, list) else chat_text([_message(one, whole) for one in given], where)
    choices = get(item, "output.choices")
    texts = [whole(message_text(get(choice, "message.content"))) for choice in choices or []]  # type: ignore[attr-defined]
    if not texts:  # a sample that failed, or was stopped, has no choices
        texts = [get(item, "output.completion") or ""]
    reference = as_text(first_text(item.get("target")))
    same = f"{item.get('id')} epoch {item.get('epoch')}"
    return [Record(texts, prompt, whole(reference), item.get("id"), same, source=item)]


def _message(message: object, whole: Any) -> Mapping[str, object]:
    return {"content": whole(message_text(get(message, "content")))}


LOG = Foreign("inspect_ai log", _is_log, _of_log)
SAMPLE = Foreign("inspect_ai .eval log", _is_sample, _of_sample)
