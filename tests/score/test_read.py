"""Files of others, as they are found: every one has a clear result or a clear error with its file and line."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import threading
from pathlib import Path

import pytest

from cdeval.errors import TextsError
from cdeval.score.config import FieldsConfig
from cdeval.score.read import ReadFile, read_generations

OURS = {
    "id": "a",
    "prompt": "p",
    "prompt_token_ids": [1],
    "reference": "r",
    "continuation": "c",
    "token_ids": [2, 3],
    "logprob_expert": -1.0,
    "score": None,
}
SU_XU = {"prefix_text": "Once", "reference_text": " upon", "generated_result": {"0": " more", "1": " again"}}
CD = {"prompt": "<|endoftext|>Once", "gen_text": "<|endoftext|>Once more", "gold_ref": "<|endoftext|>Once upon"}


def read(tmp_path: Path, content: object, fields: FieldsConfig | None = None, name: str = "f.json") -> ReadFile:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_generations(path, fields or FieldsConfig())


def lines(*values: object, end: str = "\n") -> bytes:
    return (end.join(json.dumps(value) for value in values) + end).encode()


def texts(found: ReadFile) -> list[str]:
    return [generation.continuation for generation in found.generations]


def test_our_samples_come_in_their_order_and_have_one_human_text(tmp_path: Path) -> None:
    """A resumed run's file has them in any order; MAUVE reads the first, and the reference is one text."""
    mixed = [{**OURS, "continuation": "second", "sample": 1}, {**OURS, "id": "b"}, {**OURS, "sample": 0}]
    found = read(tmp_path, lines(*mixed))
    assert [(text.id, text.sample) for text in found.generations] == [("a", 0), ("a", 1), ("b", 0)]
    assert texts(found) == ["c", "second", "c"]
    assert [(text.id, text.sample, text.continuation) for text in found.references] == [("a", 0, "r"), ("b", 0, "r")]


def test_ours_keeps_its_tokens(tmp_path: Path) -> None:
    found = read(tmp_path, lines(OURS))
    assert found.tokenised
    assert found.generations[0].token_ids == (2, 3)
    assert [reference.continuation for reference in found.references] == ["r"]
    assert found.references[0].token_ids == ()  # the continuation's tokens are not the reference's


def test_su_and_xu_samples_are_of_one_prompt_and_share_its_reference(tmp_path: Path) -> None:
    found = read(tmp_path, [SU_XU, {**SU_XU, "prefix_text": "Twice"}])
    assert texts(found) == [" more", " again"] * 2
    assert [len({g.id for g in found.generations}), len(found.references)] == [2, 2]


def test_the_cd_authors_prompt_is_cut_off_and_what_lacks_it_is_kept_and_counted(tmp_path: Path) -> None:
    """Their own script drops the pairs that do not begin with the prompt, silently."""
    found = read(tmp_path, lines([CD], [{**CD, "gen_text": " other"}]))
    assert texts(found) == [" more", " other"]
    assert found.generations[0].prompt == "Once"
    assert [reference.continuation for reference in found.references] == [" upon"], "one prompt, one reference"
    assert found.notes == (
        "1 of 2 texts begin with their prompt, which was cut off",
        "1 texts do not begin with their prompt and are read as continuations as they are",
        "an end-of-text mark was removed from the front of 2 prompts",
    )


def test_a_line_may_be_a_list_of_samples(tmp_path: Path) -> None:
    found = read(tmp_path, lines([CD, {**CD, "gen_text": CD["gen_text"] + "!"}], [CD]))
    assert texts(found) == [" more", " more!", " more"]


def test_names_can_be_given_and_prompts_can_be_missing(tmp_path: Path) -> None:
    items = [{"q": "Q", "a": "A", "gold": "G"}, {"q": "Q2", "a": "A2"}]
    found = read(tmp_path, items, FieldsConfig(prompt="q", continuation="a", reference="gold"))
    assert texts(found) == ["A", "A2"]
    assert "1 of 2 items have no reference" in found.notes
    bare = read(tmp_path, [{"a": "A"}, {"a": "B"}], FieldsConfig(continuation="a"))
    assert len({generation.id for generation in bare.generations}) == 2, "texts without prompts are units of their own"


def test_a_given_name_can_ask_for_the_cut(tmp_path: Path) -> None:
    given = FieldsConfig(prompt="q", continuation="a", prompt_in_text=True)
    assert texts(read(tmp_path, [{"q": "Q", "a": "QA"}], given)) == ["A"]
    assert texts(read(tmp_path, [CD], FieldsConfig(prompt_in_text=False))) == ["Once more"]  # less its token


def test_equal_prompts_meet_across_files_and_unlike_references_keep_them_apart(tmp_path: Path) -> None:
    one = read(tmp_path, [SU_XU, {**SU_XU, "reference_text": " other"}, SU_XU])
    ids = [generation.id for generation in one.generations]
    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4] == ids[5], "the samples of a prompt stand together"
    assert [generation.sample for generation in one.generations] == [0, 1, 2, 3, 0, 1]
    other = read(tmp_path, lines(CD))
    assert other.generations[0].id == ids[0]


@pytest.mark.parametrize("content", [lines(SU_XU, end="\r\n"), b"\xef\xbb\xbf" + lines(SU_XU), b"\n\n" + lines(SU_XU)])
def test_line_ends_byte_order_marks_and_blank_lines_change_nothing(tmp_path: Path, content: bytes) -> None:
    assert texts(read(tmp_path, content)) == [" more", " again"]


def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    for torn in (lines(SU_XU) + b'{"prefix_text": "On', lines([CD]) + b'[{"prompt": "On'):
        found = read(tmp_path, torn)
        assert "the last line is torn and was left out" in found.notes
        assert len(found.references) == 1
    whole = read(tmp_path, lines(SU_XU) + json.dumps(SU_XU).encode())  # whole, and only without its newline
    assert len(whole.generations) == 4
    assert len(whole.references) == 1
    assert not whole.notes


def test_texts_of_any_script_are_kept_and_half_a_character_is_replaced(tmp_path: Path) -> None:
    odd = ["", "x", "中文字", "שלום", "👩‍👩‍👧 yes", "a\u2028b", "a\r\nb"]
    found = read(tmp_path, [{**SU_XU, "generated_result": odd}])
    assert texts(found) == odd
    assert "1 continuations are empty" in found.notes
    half = read(tmp_path, rb'[{"prefix_text": "a\ud83d", "generated_result": "b\ud83d"}]')
    assert half.generations[0].continuation == "b\N{REPLACEMENT CHARACTER}"
    assert any("2 texts hold half a character" in note for note in half.notes)
    half.generations[0].continuation.encode()


MISTAKES: list[tuple[object, FieldsConfig, str]] = [
    (b"", FieldsConfig(), "is empty"),
    (b"  \n", FieldsConfig(), "is empty"),
    (b"[]", FieldsConfig(), "holds no items"),
    ("café".encode("latin-1"), FieldsConfig(), "is not UTF-8: byte 0xe9"),
    (b"\x1f\x8b\x08\x00 a gzip file", FieldsConfig(), "is packed and damaged"),
    (gzip.compress(json.dumps([SU_XU]).encode())[:-12], FieldsConfig(), "is packed and damaged"),
    (b"7z\xbc\xaf\x27\x1c", FieldsConfig(), "is a 7z archive"),
    (b"x" * 257 + b"ustar\x00", FieldsConfig(), "is a tar archive"),
    (gzip.compress(gzip.compress(b"[]")), FieldsConfig(), "is packed twice"),
    (b"version https://git-lfs.github.com/spec/v1\n", FieldsConfig(), "is a Git LFS pointer"),
    (b"PK\x03\x04 an archive", FieldsConfig(), "is a damaged .eval log"),
    (b"PAR1 a table", FieldsConfig(), "is a damaged Parquet or Arrow file"),
    (b"\x28\xb5\x2f\xfd packed", FieldsConfig(), "is packed by zstd"),
    (b"\x80\x04\x95 an object", FieldsConfig(), "is a pickle, which is never opened"),
    (b"\xff\xfe\x00", FieldsConfig(), "is not UTF-16: byte 0x00"),
    (b'{"status": "ok", "samples": [{"input": "x"}]}', FieldsConfig(), "whose 'samples' is a list of objects"),
    (b'[{"a": "b\x00"}]', FieldsConfig(), "line 1: not JSON (Invalid control character"),
    (b'{"prompt": "p", "continuation": "c', FieldsConfig(), "line 1: not JSON"),  # torn, and nothing else is there
    (b'{"a": 1}\n{"a"\n{"a": 2}\n', FieldsConfig(continuation="a"), "line 2: not JSON"),
    (b'[{"prefix_text": "x"},\n {"pref', FieldsConfig(), "line 2: not JSON"),
    ([1], FieldsConfig(), "item 1: expected an object"),
    ([{"text": "x"}], FieldsConfig(), "unknown fields (text)"),
    (
        [SU_XU, {"prefix_text": "x"}],
        FieldsConfig(),
        "item 2: 'generated_result' is missing (fields found: prefix_text)",
    ),
    ([{**SU_XU, "generated_result": {}}], FieldsConfig(), "item 1: 'generated_result' holds no text"),
    (
        [{**SU_XU, "generated_result": {"0": 3}}],
        FieldsConfig(),
        "'generated_result' is a number (3); expected a string",
    ),
    (lines(CD, {**CD, "gen_text": None}), FieldsConfig(), "line 2: 'gen_text' is null; write \"\" for an empty text"),
    (lines(CD, {**CD, "gen_text": float("nan")}), FieldsConfig(), "line 2: 'gen_text' is a number (nan); write"),
    ([{**CD, "prompt": ["x"]}], FieldsConfig(), "'prompt' is a list"),
    ([{"a": "x"}], FieldsConfig(continuation="b"), "'b' is missing (fields found: a)"),
    ([{**OURS, "id": "x"}, {**OURS, "token_ids": "x"}], FieldsConfig(), "item 2 is not a stored text"),
    ([{**SU_XU, "id": "x"}, {**SU_XU, "id": "x", "prefix_text": "y"}], FieldsConfig(), "'x' has another prompt"),
    ([{**SU_XU, "id": 1.5}], FieldsConfig(), "the id is a number (1.5)"),
    (lines([CD, {**CD, "prompt": "x"}], [CD]), FieldsConfig(), "samples with different prompts"),
]


@pytest.mark.parametrize(("content", "fields", "expected"), MISTAKES, ids=[message for *_, message in MISTAKES])
def test_a_mistake_names_file_and_place(tmp_path: Path, content: object, fields: FieldsConfig, expected: str) -> None:
    with pytest.raises(TextsError) as raised:
        read(tmp_path, content, fields)
    assert expected in str(raised.value)
    assert "f.json" in str(raised.value)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's refusal is the user's to mend: no traceback, and the file by its name."""

    def refused(path: Path, **_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "f.json"
    path.write_text("[]")
    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(TextsError, match=r"generations=.*f\.json cannot be read: Permission denied"):
        read_generations(path, FieldsConfig())


def test_a_missing_reference_is_no_reference_and_not_the_word_nan(tmp_path: Path) -> None:
    found = read(tmp_path, lines({**SU_XU, "reference_text": float("nan")}, {**SU_XU, "reference_text": None}))
    assert not found.references


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SU_XU, indent=2).encode(),
        (json.dumps(SU_XU, indent=2) + "\n" + json.dumps(SU_XU, indent=2)).encode(),
        json.dumps(SU_XU).encode() * 2,
        json.dumps([SU_XU], indent=2).encode(),
        json.dumps([SU_XU]).encode("utf-16"),
        json.dumps([SU_XU]).encode("utf-16-le"),
        f"\x1e{json.dumps(SU_XU)}\n\x1e{json.dumps(SU_XU)}\n".encode(),
        lzma.compress(json.dumps(SU_XU).encode(), format=lzma.FORMAT_ALONE),
        gzip.compress(json.dumps(SU_XU).encode()),
        bz2.compress(json.dumps(SU_XU).encode()),
        lzma.compress(json.dumps(SU_XU).encode()),
    ],
    ids=["indented", "jq", "one line", "indented list", "utf-16", "no mark", "RFC 7464", "lzma", "gzip", "bzip2", "xz"],
)
def test_json_is_read_however_it_is_laid_out_or_packed(tmp_path: Path, content: bytes) -> None:
    """Indented objects were "not JSON", and packed files were to be made UTF-8 by iconv."""
    found = read(tmp_path, content)
    assert {generation.prompt for generation in found.generations} == {"Once"}
    assert found.references


def test_a_mistake_in_values_that_follow_one_another_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(TextsError, match="line 6: not JSON"):
        read(tmp_path, b'{\n "prefix_text": "a",\n "generated_result": "b"\n}\n{\n "prefix_text" "a"\n}\n')


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x04\x22\x4d\x18" + b"\xff" * 9, "packed by lz4"),
        (b"7z\xbc\xaf\x27\x1c" + b"\x00" * 9, "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"FEA1\x00\x00\x00\x00", "a Feather file"),
        (b"Obj\x01\x04\x14", "an Avro file"),
        (gzip.compress(gzip.compress(b"{}")), "packed twice"),
        (b"f.jsonl".ljust(257, b"\x00") + b"ustar\x0000", "a tar archive"),
        (gzip.compress(b"f.jsonl".ljust(257, b"\x00") + b"ustar  \x00"), "a tar archive"),
    ],
    ids=["lz4", "7z", "RAR", "Feather", "Avro", "gzip twice", "tar", "tar.gz"],
)
def test_other_kinds_of_file_are_called_what_they_are(tmp_path: Path, content: bytes, kind: str) -> None:
    """They were not JSON, or to be made UTF-8 by iconv."""
    with pytest.raises(TextsError, match=f"is {kind}") as raised:
        read(tmp_path, content)
    assert "iconv" not in str(raised.value)


def test_a_text_may_speak_of_what_tar_writes(tmp_path: Path) -> None:
    content = json.dumps({**SU_XU, "prefix_text": "ustar" * 100}).encode()
    found = [read(tmp_path, b" " * shift + content) for shift in range(5)]
    assert {one.generations[0].prompt for one in found} == {"ustar" * 100}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """It was read for its texts and again for its digest: the second time there was nothing, or nobody wrote."""
    pipe = tmp_path / "f.json"
    os.mkfifo(pipe)
    content = json.dumps([SU_XU]).encode()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    found = read_generations(pipe, FieldsConfig())
    writer.join(5)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.generations


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(TextsError, match="is a device and holds no texts"):
        read_generations(Path("/dev/zero"), FieldsConfig())


@pytest.mark.parametrize(
    "content",
    [
        b"".join(json.dumps(one).encode() for one in ({"a": "x"}, {"a": "y"}, {"a": "z"})),
        b'{"a": "x"}{"a": "y"}\n{"a":\n "z"}',
        b'{"a": "x"}\n{\n "a": "y"\n}\n{"a": "z"}\n',
        b'{"a": "x"}\r{"a": "y"}\r{"a": "z"}',
        b'\x1e{"a": "x"}\n\x1e{"a": "y"}\n\x1e{"a": "z"}\n',
        '[{"a": "x"}, {"a": "y"}, {"a": "z"}]'.encode("utf-16-le"),
    ],
    ids=["one line", "mixed", "a value of several lines", "old line ends", "JSON text sequence", "UTF-16, no mark"],
)
def test_values_that_share_lines_are_items_of_their_own(tmp_path: Path, content: bytes) -> None:
    """Two values of one line had one number, and so became samples of one prompt."""
    found = read(tmp_path, content, FieldsConfig(continuation="a"))
    assert texts(found) == ["x", "y", "z"]
    assert len({text.id for text in found.generations}) == 3


def test_a_prompt_is_cut_off_behind_a_beginning_of_text(tmp_path: Path) -> None:
    """Decoders that keep special tokens write one before the text, and not before the prompt."""
    found = read(tmp_path, [{"prompt": "Once", "gen_text": "<s> Once more</s>", "gold_ref": "<s>Once upon"}])
    assert texts(found) == [" more"]
    assert [text.continuation for text in found.references] == [" upon"]
    assert "1 of 1 texts begin with their prompt, which was cut off" in found.notes


def test_special_tokens_in_front_of_prompts_go_and_chats_stay_whole(tmp_path: Path) -> None:
    """Padding and a beginning of text are no words of the prompt, under another model's tokenizer least of all."""
    chat = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    prompts = ["<pad><pad><s>Once", "Twice", chat]
    found = read(tmp_path, [{"prompt": prompt, "continuation": "c"} for prompt in prompts])
    assert [text.prompt for text in found.generations] == ["Once", "Twice", chat]
    assert "special tokens were removed from the front of 1 prompts" in found.notes
    assert "1 prompts hold special tokens inside, as chats do, and are read as they are" in found.notes
    plain = read(tmp_path, [{"prompt": "Once", "continuation": "c"}])
    assert plain.generations[0].id == found.generations[0].id, "equal prompts meet, however they were decoded"
    assert not plain.notes
