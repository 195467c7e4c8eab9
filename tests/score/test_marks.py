"""Special tokens that stand as text in foreign texts: gone at the ends, counted; inside, nothing is guessed."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.api import score
from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.config import FieldsConfig
from cdeval.score.marks import without_marks
from cdeval.score.read import read_generations


def text(continuation: str, reference: str | None = None) -> Generation:
    return Generation("7", "p", (), reference, continuation, (), None, None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (" so it was" + "<|im_end|>" * 20, " so it was"),
        (" so it was<|endoftext|>\n<|endoftext|>\n", " so it was"),
        ("<s> so it was</s>", " so it was"),
        ("<bos> so it was<eos><pad><pad>", " so it was"),
        (" so it was<end_of_turn>\n", " so it was"),
        (" so it was <|eot_id|>", " so it was"),
        (" so it was<｜end▁of▁sentence｜>", " so it was"),
        ("[CLS] so it was [SEP]", " so it was"),
        ("</s></s>", ""),
        ("[INST] so it was[/INST]<EOS>[EOS]", " so it was"),
        (" so it was\n </s> \n</s>\n", " so it was"),
        ("<s> <s> so it was", " so it was"),
        (" so it was<EOS>", " so it was"),
        (" so it was[EOS]", " so it was"),
        (" so it was<end_of_utterance>", " so it was"),
        (" so it was<|fim-end|>", " so it was"),
        (" a <unk> in Wikipedia", " a <unk> in Wikipedia"),
        (" x < y and y > z | w [sic] <b>", " x < y and y > z | w [sic] <b>"),
    ],
)
def test_they_are_taken_from_the_ends(written: str, read: str) -> None:
    """Scored as text, an end of text twenty times over made perplexity 16 of 26, or 3573."""
    found = without_marks([text(written, reference=written)], "here")
    assert (found.texts[0].continuation, found.texts[0].reference) == (read, read)
    assert found.changed == (2 if written != read else 0)


@pytest.mark.parametrize("written", [" so<|im_end|>\n<|im_start|>user it was", "<s> a<eos>b<eos></s>", " a[INST]b"])
@pytest.mark.parametrize("reference", [False, True])
def test_inside_a_text_nothing_is_guessed(written: str, reference: bool) -> None:
    with pytest.raises(TextsError, match=r"here: the \w+ of prompt '7' holds the special token [<\[]") as raised:
        without_marks([text(" x", written) if reference else text(written)], "here")
    assert ("reference" in str(raised.value)) == reference


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("it costs <s>10</s> 5", "it costs <s>10</s> 5"),
        ("it costs <s>10</s>", "it costs <s>10</s>"),
        ("<s>10</s> 5<|im_end|>", "<s>10</s> 5"),
        ("a [MASK] in BERT", "a [MASK] in BERT"),
        ("[SEP] of 2020, in [PAD]s", "[SEP] of 2020, in [PAD]s"),
        ("an SVG <mask> and a <sep>", "an SVG <mask> and a <sep>"),
    ],
)
def test_html_and_words_in_brackets_are_text_unless_they_are_the_scoring_models(written: str, read: str) -> None:
    """A file with a struck-out price, or an article on BERT, was refused whoever scored it."""
    found = without_marks([text(written, written)], "here", {"<|im_end|>", "<|endoftext|>"})
    assert (found.texts[0].continuation, found.texts[0].reference) == (read, read)
    assert found.changed == (2 if read != written else 0)
    assert found.notes()[-1].startswith("2 texts hold inside what is a special token of some models")
    own = {"<s>", "</s>", "[MASK]", "[SEP]", "[PAD]", "<mask>"}
    with pytest.raises(TextsError, match="holds the special token"):
        without_marks([text(f"so {written} so")], "here", own)


def test_the_scoring_models_own_are_known_too() -> None:
    odd = [text(" so it was<extra_id_0>[gMASK]")]
    assert without_marks(odd, "here").changed == 0
    assert without_marks(odd, "here", {"<extra_id_0>", "[gMASK]", "", "<unk>"}).texts[0].continuation == " so it was"


def test_a_file_says_how_many_of_its_texts_had_some(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    items = [{"id": n, "prompt": "p", "continuation": end} for n, end in enumerate([" x</s>", " y", "<|endoftext|>"])]
    path.write_text("\n".join(map(json.dumps, items)))
    found = read_generations(path, FieldsConfig())
    assert [one.continuation for one in found.generations] == [" x", " y", ""]
    assert "special tokens were removed from the ends of 2 texts" in found.notes
    assert "1 continuations are empty" in found.notes


def test_a_text_that_is_all_spaces_takes_no_longer() -> None:
    """The time grew with the square of the spaces: 20 000 of them took seconds a text, a million would take hours."""
    spaces = " " * 1_000_000
    assert without_marks([text(f" a{spaces}b{spaces}</s>")], "here").texts[0].continuation == f" a{spaces}b"


def test_python_is_told_of_them_too() -> None:
    """Twenty ends of text were scored as text there."""
    given = [replace(text(" so it was" + "<|im_end|>" * 20, " as it was"), id=str(n)) for n in range(2)]
    with pytest.warns(UserWarning, match="mine: special tokens were removed from the ends of 2 texts"):
        scored = score({"mine": given}, metrics=["words"])
    clean = score({"mine": [replace(one, continuation=" so it was") for one in given]}, metrics=["words"])
    assert scored.scores["mine"]["words"] == clean.scores["mine"]["words"]
    with pytest.raises(TextsError, match=r"holds the special token <\|im_\w+\|> inside"):
        score({"mine": [text(" so<|im_end|>\n<|im_start|>user")]}, metrics=["words"])


def test_texts_with_tokens_are_their_models() -> None:
    """A model may spell in letters what another has as a token; its log-probabilities are of these letters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score({"mine": [replace(text(" a </s> b"), token_ids=(1, 2))]}, metrics=["words"])
