"""Files of other programs, a file a format: their prompts, texts and references, and what is said without some."""

import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdeval.api import score
from cdeval.errors import TextsError
from cdeval.score.config import FieldsConfig
from cdeval.score.read import ReadFile, read_generations

PROMPTS = ["The quick brown fox", "Researchers said", "A small model"]
TEXTS = [" jumps over it.", " on Monday.", " writes."]
ANSWERS = [" jumps.", " today.", " speaks."]


def lm_eval(filters: Sequence[str] = ("none",)) -> bytes:
    """A line a document and filter, as `--log_samples` writes."""
    lines = [
        {
            "doc_id": place,
            "doc": {"question": f"Q: {prompt}"},
            "target": ANSWERS[place],
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"]}}},
            "resps": [[TEXTS[place]]],
            "filtered_resps": [TEXTS[place].strip()],
            "filter": name,
            "exact_match": 0.0,
        }
        for name in filters
        for place, prompt in enumerate(PROMPTS)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def inspect_samples(epochs: int = 1) -> list[dict[str, Any]]:
    """Samples of an inspect_ai log; the last one's prompt is a chat of which a part is an attachment."""
    found = []
    for epoch in range(1, epochs + 1):
        for place, prompt in enumerate(PROMPTS):
            last = place == len(PROMPTS) - 1
            found.append(
                {
                    "id": place + 1,
                    "epoch": epoch,
                    "input": [{"role": "user", "content": [{"type": "text", "text": "attachment://f00"}]}]
                    if last
                    else prompt,
                    "target": [ANSWERS[place], "or so"] if last else ANSWERS[place],
                    "output": {"choices": [{"message": {"role": "assistant", "content": TEXTS[place]}}]},
                    "attachments": {"f00": prompt},
                    "scores": {},
                }
            )
    return found


def inspect_log(epochs: int = 1) -> bytes:
    log = {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": inspect_samples(epochs)}
    return json.dumps(log, indent=1).encode()


def inspect_eval(samples: Sequence[Mapping[str, Any]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return buffer.getvalue()


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def arrow(rows: Sequence[Mapping[str, Any]], *, stream: bool) -> bytes:
    buffer, table = io.BytesIO(), pa.Table.from_pylist(list(rows))
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def lighteval(mark: str = "") -> bytes:
    rows = [
        {
            f"{mark}doc{mark}": {
                "query": prompt,
                "choices": ["no", ANSWERS[place]],
                "gold_index": [1],
                "id": f"{place}",
            },
            f"{mark}metric{mark}": {"em": 0.0},
            f"{mark}model_response{mark}": {"input": prompt, "text": [TEXTS[place]], "logprobs": [-1.0]},
        }
        for place, prompt in enumerate(PROMPTS)
    ]
    return parquet(rows)


def lighteval_older(*, as_python: bool) -> bytes:
    """The columns before 0.10; written as Python writes them where Parquet would not take the values."""
    rows = [
        {"full_prompt": prompt, "predictions": [TEXTS[place]], "gold": [ANSWERS[place]]}
        for place, prompt in enumerate(PROMPTS)
    ]
    return parquet([{name: str(value) for name, value in row.items()} for row in rows] if as_python else rows)


def vllm() -> bytes:
    rows = [
        {"request_id": f"{place}", "prompt": prompt, "outputs": [{"index": 0, "text": TEXTS[place], "token_ids": [1]}]}
        for place, prompt in enumerate(PROMPTS)
    ]
    return json.dumps(rows).encode()


def completions() -> bytes:
    """A response a line, as a server gives them; the last one is a chat's."""
    lines: list[dict[str, Any]] = [
        {"id": f"cmpl-{place}", "object": "text_completion", "choices": [{"index": 0, "text": text}]}
        for place, text in enumerate(TEXTS)
    ]
    lines[-1]["choices"] = [{"index": 0, "message": {"role": "assistant", "content": TEXTS[-1]}}]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def one_response() -> bytes:
    """One response to all prompts, whose choices lie in another order."""
    choices = [{"index": place, "text": text} for place, text in enumerate(TEXTS)]
    return json.dumps({"object": "text_completion", "choices": choices[::-1]}).encode()


def batch() -> bytes:
    lines = [
        {"custom_id": f"{place}", "response": {"status_code": 200, "body": {"choices": [{"index": 0, "text": text}]}}}
        for place, text in enumerate(TEXTS)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def pipeline(*, full: bool) -> bytes:
    rows = [[{"generated_text": prompt * full + text}] for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    return json.dumps(rows).encode()


def chats() -> bytes:
    rows = [
        [{"generated_text": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]}]
        for text in TEXTS
    ]
    return json.dumps(rows).encode()


def read(tmp_path: Path, content: bytes, fields: FieldsConfig | None = None) -> ReadFile:
    path = tmp_path / "file"
    path.write_bytes(content)
    return read_generations(path, fields or FieldsConfig())


def named(tmp_path: Path) -> FieldsConfig:
    """The prompts of files that have none."""
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([PROMPTS[0], {"prompt": PROMPTS[1]}, {"text": PROMPTS[2]}]))
    return FieldsConfig(prompts_from=str(path))


WHOLE = {
    "lm_eval": lm_eval(),
    "lm_eval, gz": gzip.compress(lm_eval()),
    "inspect_ai log": inspect_log(),
    "inspect_ai .eval": inspect_eval(inspect_samples()),
    "lighteval": lighteval(),
    "lighteval with underscores": lighteval("__"),
    "lighteval before 0.10": lighteval_older(as_python=False),
    "lighteval before 0.10, as Python": lighteval_older(as_python=True),
}
WITHOUT_REFERENCES = {"vllm": vllm()}
WITHOUT_PROMPTS = {
    "completions": completions(),
    "one response": one_response(),
    "batch": batch(),
    "pipeline": pipeline(full=True),
    "pipeline without the prompt": pipeline(full=False),
    "chats": chats(),
}


@pytest.mark.parametrize("content", (WHOLE | WITHOUT_REFERENCES).values(), ids=WHOLE | WITHOUT_REFERENCES)
def test_a_foreign_file_has_its_prompts_texts_and_references(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content)
    assert [text.prompt for text in found.generations] == PROMPTS
    assert [text.continuation for text in found.generations] == TEXTS
    answers = [] if content in WITHOUT_REFERENCES.values() else ANSWERS
    assert [text.continuation for text in found.references] == answers
    assert not found.notes


@pytest.mark.parametrize("content", WITHOUT_PROMPTS.values(), ids=WITHOUT_PROMPTS)
def test_prompts_are_given_to_files_without_them(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content, named(tmp_path))
    assert [text.prompt for text in found.generations] == PROMPTS
    assert [text.continuation for text in found.generations] == TEXTS
    ids = [text.id for text in read(tmp_path, vllm()).generations]
    assert [text.id for text in found.generations] == ids, "the same prompts meet those of other files"


def test_the_texts_of_every_program_have_the_same_scores(tmp_path: Path) -> None:
    fields = named(tmp_path)
    found = {name: read(tmp_path, content) for name, content in (WHOLE | WITHOUT_REFERENCES).items()}
    found |= {name: read(tmp_path, content, fields) for name, content in WITHOUT_PROMPTS.items()}
    scores = score({name: one.generations for name, one in found.items()}, metrics=["words"]).scores
    assert set(found) <= set(scores)
    assert {name: scores[name]["words"].value for name in found} == dict.fromkeys(found, 2.0), "3, 2 and 1 words"


def test_texts_without_prompts_are_read_and_the_note_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, pipeline(full=True))
    assert [text.continuation for text in found.generations] == [p + t for p, t in zip(PROMPTS, TEXTS, strict=True)]
    assert len({text.id for text in found.generations}) == 3
    assert any("may begin with them: fields.prompts_from=<file>" in note for note in found.notes)


def test_a_text_that_repeats_its_prompt_keeps_it_where_the_others_were_written_without(tmp_path: Path) -> None:
    rows = [[{"generated_text": PROMPTS[0] + "!"}], [{"generated_text": "x"}], [{"generated_text": "y"}]]
    found = read(tmp_path, json.dumps(rows).encode(), named(tmp_path))
    assert found.generations[0].continuation == PROMPTS[0] + "!"


def test_filters_and_epochs_are_told_from_samples(tmp_path: Path) -> None:
    """A filter repeats the same text; an epoch is another text of the same prompt."""
    filtered = read(tmp_path, lm_eval(("strict-match", "flexible-extract")))
    assert [text.continuation for text in filtered.generations] == TEXTS
    assert "3 records repeat texts for other filters or metrics and were left out" in filtered.notes
    twice = read(tmp_path, inspect_eval(inspect_samples(epochs=2)))
    assert [(text.prompt, text.sample) for text in twice.generations] == [(one, at) for one in PROMPTS for at in (0, 1)]
    assert len({text.id for text in twice.generations}) == 3
    several = read(tmp_path, json.dumps([[{"generated_text": "a"}, {"generated_text": "b"}]] * 2).encode())
    assert [text.sample for text in several.generations] == [0, 1, 0, 1]


def test_a_name_may_be_the_way_to_a_field_inside_of_others(tmp_path: Path) -> None:
    """In a format that is known, and in one that is not."""
    other = read(tmp_path, lm_eval(), FieldsConfig(prompt="doc.question"))
    assert [text.prompt for text in other.generations] == [f"Q: {prompt}" for prompt in PROMPTS]
    assert [text.continuation for text in other.generations] == TEXTS
    strange = [{"q": {"a.b": prompt}, "out": [{"t": text}]} for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    fields = FieldsConfig(prompt="q.a.b", continuation="out.0.t")
    assert [text.continuation for text in read(tmp_path, json.dumps(strange).encode(), fields).generations] == TEXTS


ROWS = [{"prompt": prompt, "continuation": text} for prompt, text in zip(PROMPTS, TEXTS, strict=True)]


@pytest.mark.parametrize(
    "content",
    [parquet(ROWS), arrow(ROWS, stream=False), arrow(ROWS, stream=True), gzip.compress(parquet(ROWS))],
    ids=["parquet", "arrow", "stream", "parquet.gz"],
)
def test_tables_are_read_like_lines(tmp_path: Path, content: bytes) -> None:
    assert [text.continuation for text in read(tmp_path, content).generations] == TEXTS


CHOICES = [{"doc_id": 0, "arguments": {}, "resps": [[["-1.5", "False"]]], "target": "0"}]
MISTAKES: dict[str, tuple[bytes, FieldsConfig]] = {
    "holds log-likelihoods of choices": (json.dumps(CHOICES).encode(), FieldsConfig()),
    "row 1: these details hold no texts": (
        parquet([{"doc": {"query": "q"}, "model_response": {"input": "q", "logprobs": [-1.0]}}]),
        FieldsConfig(),
    ),
    "without a text (too long)": (
        completions() + json.dumps({"choices": [], "error": {"message": "too long"}}).encode(),
        FieldsConfig(),
    ),
    "no item of vLLM outputs, as the file's first is (other)": (
        json.dumps([*json.loads(vllm()), {"other": 1}]).encode(),
        FieldsConfig(),
    ),
    "'doc.nothing' is missing (fields found: doc_id": (lm_eval(), FieldsConfig(reference="doc.nothing")),
    "is a zip archive without samples/": (inspect_eval([]), FieldsConfig()),
    "is a damaged .eval log": (inspect_eval(inspect_samples())[:-40], FieldsConfig()),
    "is a damaged Parquet or Arrow file": (parquet(ROWS)[:-9], FieldsConfig()),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_in_a_foreign_file_is_named(tmp_path: Path, message: str) -> None:
    content, fields = MISTAKES[message]
    with pytest.raises(TextsError) as raised:
        read(tmp_path, content, fields)
    assert message in str(raised.value)


def test_prompts_that_do_not_fit_their_texts_are_refused(tmp_path: Path) -> None:
    fields = named(tmp_path)
    with pytest.raises(TextsError, match=r"holds 1 items, and fields\.prompts_from 3 prompts"):
        read(tmp_path, json.dumps([[{"generated_text": "a"}, {"generated_text": "b"}]]).encode(), fields)
    with pytest.raises(TextsError, match="has prompts of its own"):
        read(tmp_path, lm_eval(), fields)
    Path(str(fields.prompts_from)).write_text('["a", {"question": "b"}, "c"]')
    with pytest.raises(TextsError, match=r"item 2: an object without a prompt"):
        read(tmp_path, pipeline(full=True), fields)


def test_a_method_of_packing_that_python_lacks_is_named(tmp_path: Path) -> None:
    """inspect_ai may pack by zstd, number 93."""
    content = bytearray(inspect_eval(inspect_samples()[:1]))
    for place in (at for at in range(len(content) - 4) if content[at : at + 4] in (b"PK\x01\x02", b"PK\x03\x04")):
        method = place + (10 if content[place + 2] == 1 else 8)
        content[method : method + 2] = (93).to_bytes(2, "little")
    with pytest.raises(TextsError, match=r"packed in a way that this Python cannot read"):
        read(tmp_path, bytes(content))
