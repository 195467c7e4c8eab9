"""Text to token ids and back, for every kind of tokenizer."""

import ast
import json
import random
from pathlib import Path

import pytest
from tokenizers import decoders, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import cdeval
from cdeval.api import Search, decode, trace
from cdeval.config.enums import PromptSource, SearchKind
from cdeval.config.schema import PromptsConfig
from cdeval.models.loading import language_model
from cdeval.models.vocabulary import token_names
from cdeval.prompts.cut import Cutter
from cdeval.prompts.items import GivenPrompt
from cdeval.prompts.load import load_prompts
from cdeval.prompts.tokens import TextCodec, with_tokens
from cdeval.records import Generation
from tests.conftest import build_model, build_tokenizer
from tests.small_tokenizers import KINDS, TEXTS, byte_level, llama, word_piece


def text(prompt: str, continuation: str) -> Generation:
    return Generation("1", prompt, (7,), None, continuation, (7, 7), -1.5, None)


def test_prompt_and_continuation_are_read_each_on_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    (found,) = with_tokens([text("The quick", " brown fox")], tokenizer)
    assert tokenizer.decode(found.prompt_token_ids) == "The quick"
    assert tokenizer.decode(found.token_ids) == " brown fox"
    joined = tokenizer("The quick brown fox")["input_ids"]
    assert [*found.prompt_token_ids, *found.token_ids] == joined


def test_a_prompt_without_tokens_is_a_beginning_of_text(tokenizer: PreTrainedTokenizerFast) -> None:
    """A metric that conditions on the prompt would otherwise have no distribution for the first token."""
    empty, unknown = with_tokens([text("", "fox"), text("中", "")], tokenizer)
    assert empty.prompt_token_ids == unknown.prompt_token_ids == (tokenizer.bos_token_id,)
    assert unknown.token_ids == ()


def test_what_a_tokenizer_puts_around_a_text_stands_before_the_prompt_only() -> None:
    """An appended end of text between prompt and continuation would make every first word a surprise."""
    tokenizer = build_tokenizer()
    plain = tokenizer("the dog")["input_ids"]
    around = TemplateProcessing(single="<|marker|> $A <|end|>", special_tokens=[("<|marker|>", 1), ("<|end|>", 0)])
    tokenizer.backend_tokenizer.post_processor = around
    found, empty = with_tokens([text("the dog", "the dog"), text("", "the dog")], tokenizer)
    assert list(found.prompt_token_ids) == [1, *plain]
    assert list(found.token_ids) == plain
    assert empty.prompt_token_ids == (tokenizer.bos_token_id,)


def test_other_tokens_have_no_log_probability(tokenizer: PreTrainedTokenizerFast) -> None:
    """The sum over another model's tokens would be divided by the number of these."""
    assert with_tokens([text("the", " dog")], tokenizer)[0].logprob_expert is None


kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_many_texts_are_read_as_each_alone_in_few_calls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call a text took most of the time of scoring 100 000 texts by metrics that read no model."""
    tokenizer = KINDS[kind]()
    prompts = ["", "<s>", "The river", "<s>The river", "<s> <s>playing", "\n<s> yes", " do", "中"]
    texts = [
        text(prompt, added) for prompt in prompts for added in ("", " had been", "had been", "中", " ", "played <s>")
    ]
    alone = [with_tokens([one], tokenizer)[0] for one in texts]
    calls = []
    call = PreTrainedTokenizerFast.__call__
    monkeypatch.setattr(
        PreTrainedTokenizerFast, "__call__", lambda *args, **named: calls.append(1) or call(*args, **named)
    )
    assert with_tokens(texts * 40, tokenizer) == alone * 40
    assert len(calls) < len(texts)


class TestBeginning:
    """A prompt begins with the tokenizer's BOS exactly once, whoever wrote it."""

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if TextCodec(KINDS[kind]()).leading])
    @pytest.mark.parametrize("written", ["<s>", "<s><s>", "\n<s>", "<s> "])
    def test_a_written_bos_gets_no_second_one(self, kind: str, written: str) -> None:
        tokenizer = KINDS[kind]()
        codec = TextCodec(tokenizer)
        found = codec.prompt_ids(f"{written}The river had been")
        assert found.count(tokenizer.bos_token_id) == 1
        assert found[0] == tokenizer.bos_token_id
        if written != "<s> ":
            assert found == codec.prompt_ids("The river had been")

    @kinds
    def test_what_a_decoder_wrote_is_read_back(self, kind: str) -> None:
        """Texts that were decoded with their special tokens: Llama 2 writes a space after the BOS."""
        tokenizer = KINDS[kind]()
        codec = TextCodec(tokenizer)
        ids = codec.prompt_ids("The river had been rising")
        assert codec.prompt_ids(tokenizer.decode(ids)) == ids

    def test_a_tokenizer_that_adds_no_bos_leaves_a_written_one_alone(self) -> None:
        tokenizer = byte_level()
        assert TextCodec(tokenizer).prompt_ids("<s>The") == [1, *tokenizer("The")["input_ids"]]
        assert TextCodec(tokenizer).prompt_ids("<s>") == [1]

    @pytest.mark.parametrize("tokenizer", [llama(), byte_level("<s> $A </s>"), word_piece()])
    def test_bos_alone_is_a_prompt_and_nothing_is_none(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert TextCodec(tokenizer).prompt_ids("<s>") == [tokenizer.bos_token_id]
        assert TextCodec(tokenizer).prompt_ids("") == []

    def test_bos_that_is_eos_is_added_once_and_nothing_is_appended(self) -> None:
        tokenizer = byte_level("</s> $A </s>")
        plain = byte_level()("The river")["input_ids"]
        for text in ("The river", "</s>The river"):
            assert TextCodec(tokenizer).prompt_ids(text) == [tokenizer.eos_token_id, *plain]

    def test_a_tokenizer_that_takes_marks_for_text_gets_text(self) -> None:
        tokenizer = byte_level("<s> $A")
        tokenizer.split_special_tokens = True
        tokenizer.backend_tokenizer.encode_special_tokens = True
        found = TextCodec(tokenizer).prompt_ids("<s>The")
        assert found.count(tokenizer.bos_token_id) == 1
        assert TextCodec(tokenizer).prompt_text(found) == "<s>The"

    def test_scored_prompts_begin_once_too(self) -> None:
        (found,) = with_tokens([text("<s>The river", " had been")], llama())
        (plain,) = with_tokens([text("The river", " had been")], llama())
        assert found.prompt_token_ids == plain.prompt_token_ids
        assert found.prompt_token_ids.count(1) == 1


class TestSeam:
    """Prompt and continuation are one text that was cut, in text as in tokens."""

    @kinds
    @pytest.mark.parametrize("whole", TEXTS)
    def test_both_texts_together_are_the_text_and_each_has_its_tokens(self, kind: str, whole: str) -> None:
        """At every seam, in the middle of words, too. Kills: spaces lost or added there, and clean-up on one side."""
        codec = TextCodec(KINDS[kind]())
        ids = codec.prompt_ids(whole)
        assert codec.prompt_text(ids).lstrip() == whole
        for seam in range(len(codec.leading) + 2, len(ids)):
            prompt, rest = ids[:seam], ids[seam:]
            said = codec.prompt_text(prompt), codec.continuation_text(rest, prompt)
            assert "".join(said) == codec.prompt_text(ids)
            assert codec.prompt_ids(said[0]) == prompt
            assert codec.continuation_ids(said[1], prompt) == rest

    @pytest.mark.parametrize("tokenizer", [llama(), llama(legacy=True), byte_level(prefix_space=True)])
    def test_a_continuation_is_read_as_it_stands(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Kills: the space that such tokenizers put before a text, in mid-word or beside one that is there."""
        codec = TextCodec(tokenizer)
        prompt = codec.prompt_ids("nobody was play")
        read = codec.prompt_text([*prompt, *codec.continuation_ids("ing there", prompt)])
        assert read.lstrip() == "nobody was playing there"
        read = codec.prompt_text([*prompt, *codec.continuation_ids(" now", prompt)])
        assert read.lstrip() == "nobody was play now"

    def test_after_no_prompt_a_continuation_begins_the_text(self) -> None:
        tokenizer = llama()
        codec = TextCodec(tokenizer)
        beginning = codec.prompt_ids("The river")
        assert codec.continuation_ids("The river", beginning[:1]) == beginning[1:]
        assert codec.continuation_text(beginning[1:], beginning[:1]) == "The river"

    def test_a_prompt_that_ends_in_a_space_keeps_it(self) -> None:
        for kind in ("byte level", "llama", "gemma"):
            codec = TextCodec(KINDS[kind]())
            prompt = codec.prompt_ids("The river ")
            assert codec.prompt_text(prompt) == "The river "
            ids = codec.continuation_ids("had been", prompt)
            assert codec.continuation_text(ids, prompt) == "had been"

    @pytest.mark.parametrize("kind", ["byte level", "llama"])
    def test_a_character_in_two_parts_is_broken_on_both_sides_of_the_seam(self, kind: str) -> None:
        codec = TextCodec(KINDS[kind]())
        ids = codec.prompt_ids("The 中 river")
        place = len(codec.prompt_ids("The ")) + 1
        prompt, rest = ids[:place], ids[place:]
        said = codec.prompt_text(prompt), codec.continuation_text(rest, prompt)
        assert "中" not in "".join(said)
        assert said[0].endswith("\ufffd")
        assert said[1].startswith("\ufffd")
        assert said[1].endswith(" river")

    def test_byte_level_texts_are_what_decoding_the_tokens_alone_gives(self) -> None:
        """Of any bytes: what was stored before prompts were decoded with their continuations stays the same."""
        tokenizer = byte_level()
        codec, draw = TextCodec(tokenizer), random.Random(0)
        letters = [tokenizer.convert_tokens_to_ids(sign) for sign in pre_tokenizers.ByteLevel.alphabet()]
        for _ in range(3000):
            prompt, rest = (draw.choices(letters, k=draw.randrange(1, 7)) for _ in range(2))
            assert codec.continuation_text(rest, prompt) == tokenizer.decode(rest, skip_special_tokens=True)

    def test_a_decoder_that_rewrites_the_prompt_leaves_the_continuation_alone(self) -> None:
        """Where the text of both does not begin with the prompt's text, there is nothing to cut off."""
        tokenizer = byte_level()
        tokenizer.backend_tokenizer.decoder = decoders.Sequence(
            [decoders.ByteLevel(), decoders.Fuse(), decoders.Replace("river had", "stream had")]
        )
        codec = TextCodec(tokenizer)
        prompt = codec.prompt_ids("The river")
        ids = codec.continuation_ids(" had been", prompt)
        assert codec.prompt_text([*prompt, *ids]) == "The stream had been"
        assert codec.continuation_text(ids, prompt) == " had been"

    def test_one_token_is_shown_as_it_stands_in_a_text(self) -> None:
        for kind in KINDS:
            tokenizer = KINDS[kind]()
            codec = TextCodec(tokenizer)
            ids = codec.prompt_ids("nobody was playing")
            assert "".join(map(codec.token_text, ids[len(codec.leading) :])).lstrip() == "nobody was playing"
            assert codec.token_text(tokenizer.eos_token_id).strip() == "</s>"


class TestCleanUp:
    """A tokenizer that is told to clean up spaces does so nowhere."""

    SPACED = "do n't you know , she said , yes , I do ."

    @pytest.mark.parametrize("kind", ["unigram", "word piece"])
    def test_prompts_references_and_continuations_keep_their_spaces(self, kind: str) -> None:
        tokenizer = KINDS[kind]()
        assert tokenizer.decode(tokenizer("was n't")["input_ids"], skip_special_tokens=True) == "wasn't", "it cleans up"
        prompt = Cutter(tokenizer, max_new_tokens=40).whole(GivenPrompt("a", self.SPACED, f" {self.SPACED}"))
        assert (prompt.text, prompt.reference) == (self.SPACED, f" {self.SPACED}")
        codec = TextCodec(tokenizer)
        assert codec.continuation_text(prompt.reference_token_ids or (), prompt.token_ids) == prompt.reference


@pytest.mark.parametrize("kind", ["llama", "llama, legacy", "byte level, BOS", "unigram", "word piece"])
def test_what_the_engine_writes_is_cut_from_the_whole_text(kind: str) -> None:
    """Of `decode` and of `trace`. Kills: a decode of the continuation's tokens alone at either door."""
    tokenizer = KINDS[kind]()
    model = build_model("llama", vocab_size=max(token_names(tokenizer)) + 1, bos_token_id=1, eos_token_id=2)
    expert, search = language_model(model, tokenizer, kind), Search(max_new_tokens=12)
    whole = "<s>The river had" if TextCodec(tokenizer).leading else "The river had"
    model.lm_head.weight.zero_()  # any token is drawn
    drawn = decode(expert, [whole], search=Search(SearchKind.sample, beams=1, samples=64, max_new_tokens=24))
    for found in drawn:
        ids = [*found.prompt_token_ids, *found.token_ids]
        joint = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert found.prompt == "The river had"
        assert found.prompt_token_ids.count(1) == bool(TextCodec(tokenizer).leading)
        assert found.prompt + found.continuation == joint
    assert any(found.continuation.startswith(" ") for found in drawn)
    if tokenizer.clean_up_tokenization_spaces:
        assert any(tokenizer.clean_up_tokenization(text.continuation) != text.continuation for text in drawn)
    (found,) = decode(expert, [whole], search=search)
    assert trace(expert, whole, search=search).continuation == found.continuation


def test_references_keep_their_leading_space(tmp_path: Path) -> None:
    """Of a whole text that is cut, and of a pair; Llama 2's decoder strips it from tokens that are decoded alone."""
    lines = [{"text": "The river had been rising all night"}, {"prompt": "The river had", "reference": " been rising"}]
    (tmp_path / "p.json").write_text(json.dumps(lines))
    for legacy in (False, True):
        config = PromptsConfig(PromptSource.file, path=str(tmp_path / "p.json"), prompt_tokens=4, limit=None)
        cut, pair = load_prompts(config, llama(legacy=legacy), 2, 0).prompts
        assert (cut.text, cut.reference) == (pair.text, pair.reference) == ("The river had", " been rising")
        assert cut.reference_token_ids == pair.reference_token_ids


def test_nobody_else_asks_a_tokenizer_for_text_or_ids() -> None:
    """Each call at another place would be a BOS too many, a space too few or a clean-up of one side only."""
    # A digest of the tokenizer needs no text, the tokens of embedders and reward models are their own, and lm_eval asks
    # models for its chats.
    allowed = {"prompts/tokens.py", "models/vocabulary.py", "models/identity.py", "metrics/judges/embedder.py"}
    allowed |= {"integrations/lm_eval/model.py", "judge/reward_model.py"}
    asking = {"decode", "batch_decode", "encode", "encode_plus", "tokenize", "apply_chat_template"}
    asking |= {"convert_ids_to_tokens", "convert_tokens_to_ids", "convert_tokens_to_string", "get_vocab"}
    package = Path(cdeval.__file__).parent
    for path in package.rglob("*.py"):
        if str(path.relative_to(package)) in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                subject, _, name = called.rpartition(".")
                calls = called.split(".")[-1] in {"tokenizer", "_tokenizer"}
                asks = subject.endswith("tokenizer") and name in asking
                counts = called == "len" and ast.unparse(node.args[0]).endswith("tokenizer")
                assert not any((calls, asks, counts)), f"{path}, line {node.lineno}: {ast.unparse(node)}"
