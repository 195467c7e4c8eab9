"""Cutting is tested with a tokenizer of one token a byte, so that lengths can be counted by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from cdeval.assets import embedded as assets
from cdeval.assets.hub import hub_reachable
from cdeval.config.enums import PromptSource, Split
from cdeval.config.schema import PromptsConfig
from cdeval.errors import HubError, PromptError
from cdeval.prompts.cut import in_split
from cdeval.prompts.load import PromptSet, load_prompts, other_texts, whole_texts
from cdeval.prompts.texts import spoken, wikitext_paragraphs

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
END = 0  # <end>; byte tokens follow


def byte_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """One token a byte; `template` adds special tokens around a text, such as `<end> $A`."""
    tokenizer = Tokenizer(models.BPE(vocab={"<end>": END} | {sign: 1 + n for n, sign in enumerate(LETTERS)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<end>", END)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict.fromkeys(("bos_token", "eos_token"), "<end>"))


PLAIN = byte_tokenizer()


def news_of(lines: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "news.cor"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(assets, "news_file", lambda: file)


def load(
    tokenizer: PreTrainedTokenizerFast = PLAIN, new_tokens: int = 4, seed: int = 0, **settings: object
) -> PromptSet:
    config = replace(PromptsConfig(prompt_tokens=6, limit=None, split=Split.all), **settings)
    return load_prompts(config, tokenizer, new_tokens, seed)


def load_file(path: Path, content: str | bytes, **settings: object) -> PromptSet:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(source=PromptSource.file, path=str(path), **settings)


def jsonl(*items: object) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


class TestCutting:
    def test_prompt_and_reference_are_neighbours(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        news_of(["Hello world, and more"], tmp_path, monkeypatch)
        (prompt,) = load().prompts
        assert (prompt.id, prompt.text, prompt.reference) == ("news-0001", "Hello ", "worl")
        assert prompt.token_ids == tuple(PLAIN("Hello ")["input_ids"])
        assert prompt.reference_token_ids == tuple(PLAIN("worl")["input_ids"])

    @pytest.mark.parametrize("template", ["<end> $A", "<end> $A <end>"])
    def test_a_leading_token_counts_and_shows_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
    ) -> None:
        news_of(["Hello world"], tmp_path, monkeypatch)
        (prompt,) = load(byte_tokenizer(template)).prompts
        assert prompt.token_ids == (END, *PLAIN("Hello")["input_ids"])
        assert (prompt.text, prompt.reference) == ("Hello", " wor")

    def test_an_appended_end_is_no_token_of_the_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        news_of(["123456789", "1234567890"], tmp_path, monkeypatch)
        found = load(byte_tokenizer("$A <end>"))
        assert [prompt.id for prompt in found.prompts] == ["news-0002"]
        assert END not in found.prompts[0].reference_token_ids

    def test_spaces_before_signs_survive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        news_of(["It 's a . b , c"], tmp_path, monkeypatch)
        (prompt,) = load(prompt_tokens=8, new_tokens=6).prompts
        assert (prompt.text, prompt.reference) == ("It 's a ", ". b , ")

    def test_too_short_texts_are_counted_not_padded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        news_of(["x" * 9, "y" * 10, "z" * 11], tmp_path, monkeypatch)
        found = load(limit=5)
        assert [prompt.id for prompt in found.prompts] == ["news-0002", "news-0003"]
        assert (found.texts_seen, found.too_short, found.available) == (3, 1, 2)
        assert found.describe() == (
            "2 prompts from news, 6 tokens; 1 of 3 texts too short (< 10 tokens); 5 were asked for"
        )

    def test_if_all_are_too_short_the_error_counts_and_names_the_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        news_of(["x" * 7, "y" * 8], tmp_path, monkeypatch)
        expected = (
            r"all 2 texts .* longest has 8 tokens, 10 are needed \(prompts.prompt_tokens=6 \+ search.max_new_tokens=4\)"
        )
        with pytest.raises(PromptError, match=expected):
            load()


class TestChoice:
    @pytest.fixture(autouse=True)
    def news(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        news_of([f"article number {n} {'x' * n}" for n in range(200)], tmp_path, monkeypatch)

    def ids(self, **settings: object) -> list[str]:
        return [prompt.id for prompt in load(**settings).prompts]

    def test_smaller_choices_lie_within_larger_ones_in_the_order_of_the_source(self) -> None:
        few, more = self.ids(limit=10), self.ids(limit=40)
        assert len(few) == 10
        assert set(few) < set(more)
        assert more == sorted(more)
        assert max(more) > "news-0100", "the first texts, not a choice"

    def test_the_seed_chooses_and_nothing_else(self) -> None:
        assert self.ids(limit=10) == self.ids(limit=10)
        assert self.ids(limit=10) != self.ids(limit=10, seed=1)

    def test_lengths_only_leave_out_what_is_too_short(self) -> None:
        short, long = self.ids(limit=40), self.ids(limit=40, new_tokens=100)
        still_long_enough = [name for name in short if int(name[-4:]) > 110]
        assert len(still_long_enough) > 5
        assert set(still_long_enough) <= set(long)

    def test_no_limit_and_a_large_limit_take_all(self) -> None:
        assert self.ids(limit=None) == self.ids(limit=1000) == [f"news-{n:04}" for n in range(1, 201)]
        assert "1000 were asked for" in load(limit=1000).describe()
        assert load(limit=64).describe() == "64 of 200 prompts from news, 6 tokens"

    def test_the_splits_share_no_text_and_leave_none_out(self) -> None:
        tune, test = self.ids(split=Split.tune), self.ids(split=Split.test)
        assert sorted(tune + test) == self.ids()
        assert 30 <= len(tune) <= 70
        assert "200 of" not in load(split=Split.test).describe()
        assert "(split test)" in load(split=Split.test).describe()

    def test_the_split_of_an_id_is_written_in_stone(self) -> None:
        """Changing it would move test texts into the set that settings are chosen on."""
        tune = [n for n in range(1, 31) if in_split(f"news-{n:04}", Split.tune)]
        assert tune == [8, 9, 12, 17, 18, 19, 21]


class TestFile:
    def test_a_prompt_is_used_whole_and_its_reference_keeps_its_leading_space(self, tmp_path: Path) -> None:
        found = load_file(
            tmp_path / "p.jsonl",
            jsonl(
                {"id": 7, "prompt": "Once upon a time", "reference": " there was a king"},
                {"id": "b", "prompt": "Hi", "reference": " yo"},
                {"prompt": "Alone"},
                {"text": "Hello world"},
            ),
        )
        assert [(p.id, p.text, p.reference) for p in found.prompts] == [
            ("7", "Once upon a time", " the"),
            ("b", "Hi", " yo"),
            ("file-0003", "Alone", None),
            ("file-0004", "Hello ", "worl"),
        ]
        assert found.prompts[2].reference_token_ids is None
        assert (found.without_reference, found.short_references, found.too_short) == (1, 1, 0)
        assert "2 to 16 tokens; 1 without a reference; 1 references shorter" in found.describe()

    def test_a_reference_gets_no_token_of_the_tokenizers_own(self, tmp_path: Path) -> None:
        path = tmp_path / "p.json"
        path.write_text('[{"prompt": "Hi", "reference": " you all"}]')
        found = load(byte_tokenizer("<end> $A <end>"), source=PromptSource.file, path=str(path))
        assert found.prompts[0].token_ids == (END, *PLAIN("Hi")["input_ids"])
        assert found.prompts[0].reference == " you"

    def test_json_lists_and_lines_are_told_apart_by_content(self, tmp_path: Path) -> None:
        items = [{"id": n, "prompt": f"prompt {n}"} for n in range(5)]
        as_list = load_file(tmp_path / "a.jsonl", "\ufeff" + json.dumps(items, indent=2))
        as_lines = load_file(tmp_path / "b.json", "\n".join(map(json.dumps, items)).replace("\n", "\r\n\r\n"))
        assert as_list.prompts == as_lines.prompts
        assert [prompt.id for prompt in as_list.prompts] == ["0", "1", "2", "3", "4"]

    def test_line_separators_inside_a_string_end_no_line(self, tmp_path: Path) -> None:
        found = load_file(tmp_path / "p.jsonl", '{"prompt": "a\u2028b\u0085c"}\n{"prompt": "d"}')
        assert [prompt.text for prompt in found.prompts] == ["a\u2028b\u0085c", "d"]

    def test_a_limit_keeps_the_order_of_the_file(self, tmp_path: Path) -> None:
        content = jsonl(*({"id": 100 - n, "prompt": f"prompt {n}"} for n in range(40)))
        assert len(load_file(tmp_path / "p.jsonl", content, split=Split.tune).prompts) == 40, "files have no splits"
        ids = [int(prompt.id) for prompt in load_file(tmp_path / "p.jsonl", content, limit=8).prompts]
        assert len(ids) == 8
        assert ids == sorted(ids, reverse=True)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "p.jsonl is empty: expected a JSON list or one JSON object a line"),
            (" \n\t\n", "is empty"),
            ("[]", "holds no items"),
            (b'{"prompt": "a"}\n{"prompt": "caf\xe9"}', r"not UTF-8: byte 0xe9 at offset 31 \(line 2\).*iconv"),
            ('{"prompt": "a"}\n\n{"prompt": }', r"line 3: not JSON \(Expecting value at column 12\)"),
            ('[{"prompt": "a"},\n {"prompt" "b"}]', r"line 2: not JSON \(Expecting ':' delimiter at column 12\)"),
            ('{\n "prompt": "a"\n}\n{', r"line 4: not JSON"),
            ("[" * 100_000, "line 1: unusable JSON"),
            ('"a"\n', r"line 1: a string \('a'\) instead of an object"),
            ('[{"prompt": "a"}, ["b"]]', "item 2: a list instead of an object"),
            ('{"promt": "a", "n": 1}', "line 1: neither .*fields found: promt, n.*Did you mean 'prompt' by 'promt'"),
            ("{}", r"fields found: none\)"),
            ('{"prompt": 3}', r"line 1: 'prompt' is a number \(3\); expected a string"),
            ('{"prompt": ["a"]}', "'prompt' is a list; expected a string"),
            ('{"prompt": "a", "reference": {}}', "'reference' is an object; expected a string"),
            (
                '{"prompt": "a", "id": 1.5}',
                r"the id is a number \(1.5\); expected a non-empty string or a whole number",
            ),
            ('{"prompt": "a", "id": true}', "the id is true or false"),
            ('{"prompt": ""}', "line 1: the prompt is empty"),
            ('{"prompt": "a\\ud83d"}', r"'prompt' holds half a character \(\\ud83d\)"),
            ('{"id": 1, "prompt": "a"}\n\n{"id": "1", "prompt": "b"}', "line 3 has the id '1' of line 1"),
        ],
    )
    def test_mistakes_are_named_with_their_place(self, tmp_path: Path, content: str | bytes, message: str) -> None:
        with pytest.raises(PromptError, match=message):
            load_file(tmp_path / "p.jsonl", content)

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(PromptError, match=r"nowhere\.json does not exist"):
            load(source=PromptSource.file, path=str(tmp_path / "nowhere.json"))
        with pytest.raises(PromptError, match="is a folder: give a file in it"):
            load(source=PromptSource.file, path=str(tmp_path))

    def test_a_device_that_never_ends_is_refused(self) -> None:
        with pytest.raises(PromptError, match=r"prompts\.path=/dev/zero is a device and holds no texts"):
            load(source=PromptSource.file, path="/dev/zero")

    def test_a_prompt_of_no_tokens_is_refused_even_behind_a_leading_token(self, tmp_path: Path) -> None:
        tokenizer = byte_tokenizer("<end> $A")
        tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
        path = tmp_path / "p.jsonl"
        path.write_text(jsonl({"id": "z", "prompt": "\u200b"}))
        with pytest.raises(PromptError, match=r"'z' .* yields no tokens"):
            load(tokenizer, source=PromptSource.file, path=str(path))


class TestWindows:
    """Six tokens of prompt and four of reference; of `long` the first run of paragraphs is its first one."""

    CONTENT = jsonl(
        {"id": "long", "text": "0123456789ab\nshort\nParagraphs of its own\nA third one.\ntail"},
        {"id": "one", "text": "A single line, however long it is, has a single window."},
        {"id": "none", "text": "no"},
    )

    def ids(self, folder: Path, **settings: object) -> list[str]:
        return [prompt.id for prompt in load_file(folder / "p.jsonl", self.CONTENT, **settings).prompts]

    def test_later_windows_begin_with_paragraphs_that_none_has_read(self, tmp_path: Path) -> None:
        found = load_file(tmp_path / "p.jsonl", self.CONTENT, windows=None)
        assert [(prompt.id, prompt.text, prompt.reference) for prompt in found.prompts] == [
            ("long", "012345", "6789"),
            ("long.window-2", "short\n", "Para"),
            ("long.window-3", "A thir", "d on"),
            ("one", "A sing", "le l"),
        ]
        assert found.describe().endswith(
            "4 prompts from file {}, 6 tokens; windows of 2 texts; 1 of 3 texts too short (< 10 tokens)".format(
                tmp_path / "p.jsonl"
            )
        )

    def test_a_window_begins_with_the_tokenizers_own_token(self, tmp_path: Path) -> None:
        (tmp_path / "p.jsonl").write_text(self.CONTENT)
        marked = load(
            byte_tokenizer("<end> $A"), source=PromptSource.file, path=str(tmp_path / "p.jsonl"), windows=None
        )
        by_id = {prompt.id: prompt for prompt in marked.prompts}
        assert by_id["long.window-2"].token_ids == (END, *PLAIN("short")["input_ids"])
        assert by_id["long.window-2"].reference == "\nPar"

    def test_as_many_as_are_asked_for_and_first_ones_first(self, tmp_path: Path) -> None:
        assert self.ids(tmp_path) == ["long", "one"]
        assert self.ids(tmp_path, windows=2) == ["long", "long.window-2", "one"]
        assert self.ids(tmp_path, windows=None, limit=2) == ["long", "one"]
        assert self.ids(tmp_path, windows=None, limit=3) == ["long", "long.window-2", "one"]

    def test_all_windows_belong_to_the_split_of_their_text(self) -> None:
        for number in range(40):
            assert in_split(f"wiki-{number}.window-2", Split.tune) == in_split(f"wiki-{number}", Split.tune)

    def test_a_text_is_used_where_one_of_its_windows_is(self, tmp_path: Path) -> None:
        (tmp_path / "p.jsonl").write_text(self.CONTENT)
        config = PromptsConfig(PromptSource.file, path=str(tmp_path / "p.jsonl"))
        left = other_texts(config, ["long.window-3"])
        assert [text[:6] for text in left] == ["A sing", "no"]

    def test_prompts_that_are_used_whole_have_no_windows(self, tmp_path: Path) -> None:
        with pytest.raises(
            PromptError, match=r"prompts\.windows=null: every item .* has a `prompt`, which is used whole"
        ):
            load_file(tmp_path / "p.jsonl", jsonl({"prompt": "Once upon\na time"}), windows=None)


def test_of_a_transcript_what_the_speaker_said_is_kept() -> None:
    transcript = [
        "The President. Thank you very  much.",
        "[Applause]",
        "Audience members. Four more years!",
        "Members of Congress:",
        "The treasury held [see note] much.",
        "",
        'He said: "We met."',
    ]
    assert spoken("\n".join(transcript), 9) == "Thank you very much."
    assert spoken("\n".join(transcript), 900) == 'Thank you very much.\nHe said: "We met."'


class TestWikitext:
    LINES = (
        " \n",
        " = Homarus gammarus = \n",
        " \n",
        " The lobster is a = b . \n",
        " = = Description = = \n",
        " It is blue . \n",
    )

    def test_headings_and_empty_lines_are_no_paragraphs(self) -> None:
        found = list(wikitext_paragraphs(self.LINES, "test"))
        assert [(text.id, text.text) for text in found] == [
            ("wikitext103-test-00004", "The lobster is a = b ."),
            ("wikitext103-test-00006", "It is blue ."),
        ]

    def test_only_paragraphs_of_160_tokens_count_however_little_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = ["x" * 159, "y" * 160]
        monkeypatch.setattr("cdeval.prompts.texts.wikitext103", lambda: list(wikitext_paragraphs(lines, "test")))
        found = load(source=PromptSource.wikitext103)
        assert [prompt.text for prompt in found.prompts] == ["yyyyyy"]
        assert found.tokens_needed == 160
        with pytest.raises(PromptError, match="longest has 160 tokens, 206 are needed"):
            load(source=PromptSource.wikitext103, new_tokens=200)


@pytest.mark.parametrize("source", [PromptSource.wikitext103, PromptSource.ccnews])
def test_without_the_hub_the_sources_that_work_are_named_at_once(
    source: PromptSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub_reachable.cache_clear()
    with pytest.raises(
        HubError,
        match=rf"prompts={source.value} .*prompts=news, prompts=wiki, prompts=speeches, or prompts=file prompts\.path",
    ):
        load(source=source)
    hub_reachable.cache_clear()


@pytest.mark.hub
@pytest.mark.parametrize("source", [PromptSource.wikitext103, PromptSource.ccnews])
def test_the_hub_sources_give_prompts(source: PromptSource) -> None:
    assert len(load(source=source, limit=8, new_tokens=100).prompts) == 8


@pytest.mark.long
def test_both_embedded_sources_together_are_split_as_each_alone() -> None:
    """A lens trained on both must not have seen a text that a study of one calls a test. Needs an index, once."""
    for split in (Split.tune, Split.test):
        each = {
            source: [text.id for text in whole_texts(PromptsConfig(PromptSource[source]), split, 200)]
            for source in ("news", "wiki", "news_wiki")
        }
        assert each["news_wiki"] == each["news"] + each["wiki"]
        assert all(each.values())


@pytest.mark.long
def test_wikipedia_has_a_thousand_windows_and_no_two_read_the_same_sentences() -> None:
    """Needs a package index, once a machine. Bytes, so 700 of them are some 160 tokens of a real tokenizer."""
    found = load(source=PromptSource.wiki, prompt_tokens=140, new_tokens=560, windows=None, split=Split.test)
    assert len(found.prompts) >= 1000
    texts = [f"{prompt.text}{prompt.reference}" for prompt in found.prompts]
    assert len(set(texts)) == len(texts)
    sentences = [set(text.split(". ")[1:-1]) for text in texts]
    assert len(set.union(*sentences)) > 0.99 * sum(map(len, sentences)), "the articles repeat 20 of 4436"


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "least"), [(PromptSource.news, 290), (PromptSource.wiki, 90), (PromptSource.speeches, 240)]
)
def test_the_embedded_texts_are_clean_prose(source: PromptSource, least: int) -> None:
    """Needs a package index, once a machine."""
    found = load(source=source, prompt_tokens=100, new_tokens=200)
    assert len(found.prompts) >= least
    texts = [f"{prompt.text}{prompt.reference}" for prompt in found.prompts]
    assert not [text for text in texts if set(text) & set("[]{}|<>\ufffc")]
    assert not [text for text in texts if any(sign in text for sign in ("''", "==", "()", "( ", " ,", "  ", "http"))]
    assert [text for text in texts if text[0] == text[0].strip()] == texts
    assert len({prompt.id for prompt in found.prompts}) == len(found.prompts)
