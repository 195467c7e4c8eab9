"""What Python callers may give to `cdeval.api`: names for choices, and plain texts; a mistake is a CdevalError."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdeval.api import Contrast, Lens, Search, decode, layers, load, prompts_from, score, trace
from cdeval.config.enums import DiversityProtocol, Dtype, SearchKind, Split
from cdeval.errors import CdevalError
from cdeval.models.loading import LanguageModel
from cdeval.records import Generations
from tests.conftest import build_model, build_tokenizer

TEXTS = ["The quick brown fox", "Researchers said on Monday that"]
ENDINGS = [" jumped over the dog and the dog", " the river and the river and the river"]
SHORT = Search("greedy", max_new_tokens=4)  # type: ignore[arg-type]
ANYTHING: Any = None  # what a type checker would find, a notebook does not
NAN = math.nan

Tiny = Callable[[str], LanguageModel]


def test_a_choice_is_its_name(tiny: Tiny, prompts_file: Path) -> None:
    lm = tiny("llama")
    drawn = Search("sample", max_new_tokens=4)  # type: ignore[arg-type]
    assert decode(lm, TEXTS, search=drawn) == decode(lm, TEXTS, search=Search(SearchKind.sample, max_new_tokens=4))
    read = [decode(lm, TEXTS, amateur=2, lens=lens, search=SHORT) for lens in ("raw", Lens.raw)]
    assert read[0] == read[1]
    named, meant = (prompts_from(prompts_file, lm, max_new_tokens=4, split=split) for split in ("all", Split.all))
    assert named == meant
    arms = {"a": ["a b c d e f a b c d e f"]}
    published = ("published", DiversityProtocol.published)
    notes = [score(arms, metrics=["diversity"], diversity=one).scores["a"]["diversity"].note for one in published]
    assert notes[0] == notes[1]
    assert "protocol.diversity=published" in notes[0]


def test_what_is_given_stays_beside_what_a_searchs_file_says() -> None:
    nucleus = Search("nucleus", temperature=0.7)  # type: ignore[arg-type]
    assert (nucleus.kind, nucleus.top_p, nucleus.temperature, nucleus.beams) == (SearchKind.sample, 0.95, 0.7, 1)
    assert Search("nucleus", top_p=0.8).top_p == 0.8  # type: ignore[arg-type]
    assert Search("sample", beams=5).beams == 5  # type: ignore[arg-type]  # and is refused where it is used


def test_a_format_of_numbers_is_its_name(tiny_gpt2_folder: Path) -> None:
    assert load(tiny_gpt2_folder, dtype=Dtype.float32).dtype_name == load(tiny_gpt2_folder, dtype="float32").dtype_name


def test_plain_texts_are_scored_as_the_same_generations(tiny: Tiny) -> None:
    """With their prompts they are paired with the texts of `decode`; alone they need neither prompts nor references."""
    lm = tiny("llama")
    made = decode(lm, TEXTS, search=SHORT)
    names = ["diversity", "words", "perplexity_expert"]
    texts = [text.continuation for text in made]
    found = score({"plain": texts, "made": made}, lm, prompts=TEXTS, references=ENDINGS, metrics=names)
    assert list(found.scores) == ["plain", "made", "human"]
    for name in names[:2]:
        assert found.scores["plain"][name].value == found.scores["made"][name].value
    assert {one.difference.n for one in found.comparisons if one.metric == "words"} == {len(TEXTS)}
    alone = score({"plain": texts}, metrics=["diversity", "words"]).scores
    assert list(alone) == ["plain"]
    assert alone["plain"]["words"].value == found.scores["plain"]["words"].value
    prompts = made and [text.prompt for text in made]
    assert score({"plain": tuple(texts)}, prompts=prompts, metrics=["words"]).scores["plain"]["words"].n == len(TEXTS)


def test_results_are_tables(tiny: Tiny) -> None:
    lm = tiny("llama")
    made = decode(lm, TEXTS, amateur=2, lens="norm", search=SHORT)
    assert isinstance(made, Generations)
    assert list(made.to_pandas()["continuation"]) == [text.continuation for text in made]
    assert list(made.to_pandas()["tokens"]) == [4, 4]
    scored = score({"a": made, "b": ENDINGS}, prompts=TEXTS, metrics=["words", "diversity"])
    table = scored.to_pandas().set_index(["arm", "metric"])
    assert table.loc[("a", "words"), "value"] == scored.scores["a"]["words"].value
    assert table.loc[("b", "diversity"), "n"] == scored.scores["b"]["diversity"].n
    assert len(scored.comparisons_to_pandas()) == len(scored.comparisons) == 2
    traced = trace(lm, TEXTS[0], amateur=2, lens="norm", search=SHORT)
    assert "".join(traced.to_pandas()["text"]) == traced.continuation
    looked = layers(lm, TEXTS[0])
    table = looked.to_pandas()
    assert len(table) == len(looked.layers) * len(looked.tokens)
    assert table.iloc[-1]["top"] == looked.top[-1][-1]
    assert table.iloc[-1]["layer"] == looked.layers[-1]


MISTAKES: dict[str, Callable[[LanguageModel], object]] = {
    "an expert by its name": lambda _: decode(ANYTHING, TEXTS),
    "an expert that is a string": lambda _: decode("gpt2", TEXTS),  # type: ignore[arg-type]
    "no prompt": lambda lm: decode(lm, []),
    "an empty prompt": lambda lm: decode(lm, [""]),
    "None among the prompts": lambda lm: decode(lm, [TEXTS[0], ANYTHING]),
    "bytes": lambda lm: decode(lm, b"text"),  # type: ignore[arg-type]
    "an amateur that is NaN": lambda lm: decode(lm, TEXTS, amateur=NAN),
    "an amateur that is infinite": lambda lm: decode(lm, TEXTS, amateur=math.inf),
    "an amateur of no blocks": lambda lm: decode(lm, TEXTS, amateur=0),
    "an amateur that is a dict": lambda lm: decode(lm, TEXTS, amateur={}),  # type: ignore[arg-type]
    "a lens that is a number": lambda lm: decode(lm, TEXTS, amateur=2, lens=5),  # type: ignore[arg-type]
    "a tuned lens without its file": lambda lm: decode(lm, TEXTS, amateur=2, lens=Lens.tuned),
    "a misspelt lens": lambda lm: decode(lm, TEXTS, amateur=2, lens="lineer"),
    "alpha is NaN": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(alpha=NAN)),
    "beta is infinite": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(beta=math.inf)),
    "a temperature of nothing": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(temperature=ANYTHING)),
    "a temperature in words": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(temperature="warm")),
    "an unknown form": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(form="sum")),  # type: ignore[arg-type]
    "an unknown rule": lambda lm: decode(lm, TEXTS, amateur=2, contrast=Contrast(plausibility="best")),
    "half a token": lambda lm: decode(lm, TEXTS, search=Search(max_new_tokens=1.5)),  # type: ignore[arg-type]
    "an unknown search": lambda lm: decode(lm, TEXTS, search=Search("nucleos")),  # type: ignore[arg-type]
    "a search that is a list": lambda lm: decode(lm, TEXTS, search=Search([])),  # type: ignore[arg-type]
    "top_p is NaN": lambda lm: decode(lm, TEXTS, search=Search("sample", top_p=NAN)),  # type: ignore[arg-type]
    "what is not read": lambda lm: decode(lm, TEXTS, search=Search("greedy", top_k=5)),  # type: ignore[arg-type]
    "a rule that is a name": lambda lm: decode(lm, TEXTS, amateur=2, rule="min_p"),  # type: ignore[arg-type]
    "settings as a list": lambda lm: decode(lm, TEXTS, settings=["amateur.share"]),  # type: ignore[arg-type]
    "a seed beyond all": lambda lm: decode(lm, TEXTS, seed=10**12),
    "half a lane": lambda lm: decode(lm, TEXTS, max_lanes=0.5),  # type: ignore[arg-type]
    "a callback that is none": lambda lm: decode(lm, TEXTS, search=SHORT, on_step=3),  # type: ignore[arg-type]
    "several prompts to trace": lambda lm: trace(lm, TEXTS, search=SHORT),  # type: ignore[arg-type]
    "candidates by name": lambda lm: trace(lm, TEXTS[0], candidates="all"),  # type: ignore[arg-type]
    "an empty prompt of layers": lambda lm: layers(lm, ""),
    "one number of blocks": lambda lm: layers(lm, TEXTS[0], blocks=2),  # type: ignore[arg-type]
    "no blocks": lambda lm: layers(lm, TEXTS[0], blocks=[]),
    "a lens of layers that is none": lambda lm: layers(lm, TEXTS[0], lens=None),  # type: ignore[arg-type]
    "a model that is a number": lambda _: load(5),  # type: ignore[arg-type]
    "a model without a name": lambda _: load(""),
    "a folder that is not there": lambda _: load("nowhere/at/all"),
    "a dtype that is a list": lambda _: load("gpt2", dtype=[]),  # type: ignore[arg-type]
    "a device that is nothing": lambda _: load("embedded:smollm2", device=ANYTHING),
    "a device that is not here": lambda _: load("embedded:smollm2", device="warp"),
    "prompts of a number": lambda lm: prompts_from(5, lm),  # type: ignore[arg-type]
    "prompts of nothing": lambda lm: prompts_from(ANYTHING, lm),
    "prompts without an expert": lambda _: prompts_from("news", ANYTHING),
    "no prompts of the news": lambda lm: prompts_from("news", lm, limit=0),
    "a limit that is NaN": lambda lm: prompts_from("news", lm, limit=NAN),  # type: ignore[arg-type]
    "references of no tokens": lambda lm: prompts_from("news", lm, max_new_tokens=0),
    "a split that is a number": lambda lm: prompts_from("news", lm, split=1),  # type: ignore[arg-type]
    "a file that is not there": lambda lm: prompts_from("nowhere.jsonl", lm),
    "no arms": lambda _: score({}),
    "arms without labels": lambda _: score([ENDINGS]),  # type: ignore[arg-type]
    "a text for a list of texts": lambda _: score({"a": ENDINGS[0]}),
    "an arm of numbers": lambda _: score({"a": [NAN]}),  # type: ignore[dict-item]
    "an arm that is a number": lambda _: score({"a": 5}),  # type: ignore[dict-item]
    "an arm without texts": lambda _: score({"a": []}),
    "a label that is a number": lambda _: score({1: ENDINGS}),  # type: ignore[dict-item]
    "fewer prompts than texts": lambda _: score({"a": ENDINGS}, prompts=TEXTS[:1]),
    "a reference for a list of them": lambda _: score({"a": ENDINGS}, references="text"),
    "fewer references than texts": lambda _: score({"a": ENDINGS}, prompts=TEXTS, references=ENDINGS[:1]),
    "prompts of texts that have theirs": lambda lm: score({"a": decode(lm, TEXTS, search=SHORT)}, prompts=TEXTS),
    "an unknown metric": lambda _: score({"a": ENDINGS}, metrics=["beauty"]),
    "a metric that is nothing": lambda _: score({"a": ENDINGS}, metrics=[ANYTHING]),
    "metrics that are a number": lambda _: score({"a": ENDINGS}, metrics=5),  # type: ignore[arg-type]
    "an unknown arm": lambda _: score({"a": ENDINGS}, against="b"),
    "an arm that is a list": lambda _: score({"a": ENDINGS}, against=[]),  # type: ignore[arg-type]
    "an unknown way of counting": lambda _: score({"a": ENDINGS}, diversity="new"),
    "a seed that is NaN": lambda _: score({"a": ENDINGS}, seed=NAN),  # type: ignore[arg-type]
    "a scorer by its name": lambda _: score({"a": ENDINGS}, "gpt2"),  # type: ignore[arg-type]
    "a special token inside": lambda lm: score({"a": ["one <|endoftext|> two"]}, lm, metrics=["words"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(mistake: str, tiny: Tiny) -> None:
    with pytest.raises(CdevalError) as raised:
        MISTAKES[mistake](tiny("llama"))
    assert str(raised.value).strip()
    assert "\n" not in str(raised.value)


def test_a_model_in_training_is_a_mistake() -> None:
    with pytest.raises(CdevalError, match="training mode"):
        load(build_model("gpt2").train(), build_tokenizer())
