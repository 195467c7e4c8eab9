"""cdeval from Python: the same texts and scores as the engine's and the suite's, from any loaded model."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cdeval import api
from cdeval.api import Ban, Contrast, Search, SearchKind, decode, layers, load, prompts_from, score, trace
from cdeval.config.amateur import Amateur
from cdeval.config.plausibility import RULES, Plausibility
from cdeval.config.token_weight import Gate
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.errors import ConfigError, ModelError, PromptError
from cdeval.metrics.judges.likelihood import nll_rows
from cdeval.metrics.stats import perplexity
from cdeval.models.loading import LanguageModel, language_model
from cdeval.prompts.tokens import with_tokens
from tests.conftest import build_model, build_tokenizer
from tests.decode.oracles import early_exit, setting
from tests.plugged import plugged

TEXTS = ["The quick brown fox", "Researchers said on Monday that", "A small model"]
SHORT = Search(max_new_tokens=12)
Tiny = Callable[[str], LanguageModel]


def test_a_list_of_texts_is_continued_as_the_engine_does(tiny: Tiny) -> None:
    lm = tiny("llama")
    found = decode(lm, TEXTS, amateur=2, lens="norm", contrast=Contrast(alpha=0.1, temperature=0.5), search=SHORT)
    for text, generation in zip(TEXTS, found, strict=True):
        ids = tuple(lm.tokenizer(text)["input_ids"])
        (expected,), _ = decode_batch(lm, [Lane(ids, early_exit(2))], 8)
        assert generation.token_ids == expected.token_ids
        assert generation.prompt == text
    alone = decode(lm, TEXTS[:1], search=SHORT)
    ids = tuple(lm.tokenizer(TEXTS[0])["input_ids"])
    assert alone[0].token_ids == decode_batch(lm, [Lane(ids, setting())], 8)[0][0].token_ids
    assert alone[0].token_ids != found[0].token_ids


def test_a_fraction_of_the_depth_and_samples_in_order(tiny: Tiny) -> None:
    lm = tiny("llama")
    same = [decode(lm, TEXTS, amateur=layer, lens="norm", search=SHORT) for layer in (2, 0.5)]
    assert same[0] == same[1]
    drawn = decode(lm, TEXTS, search=Search(SearchKind.sample, max_new_tokens=6, samples=2, beams=1))
    assert [(one.id, one.sample) for one in drawn] == [(f"prompt-{i}", s) for i in range(3) for s in (0, 1)]
    assert drawn[0].token_ids != drawn[1].token_ids


def test_a_rule_of_plausibility_works_without_an_amateur(tiny: Tiny) -> None:
    """The same draws as by the sampling setting of its name; what the rule does not read is named."""
    lm, drawn = tiny("llama"), Search(SearchKind.sample, max_new_tokens=12, beams=1)
    masked, warped, free = (
        decode(lm, TEXTS, contrast=contrast, search=search)
        for contrast, search in (
            (Contrast(plausibility="min_p", min_p=0.3), drawn),
            (None, replace(drawn, min_p=0.3)),
            (None, drawn),
        )
    )
    assert [one.token_ids for one in masked] == [one.token_ids for one in warped]
    assert [one.token_ids for one in masked] != [one.token_ids for one in free]
    for given, message in ((Contrast(plausibility="min_p", beta=0.5), "beta"), (Contrast(min_p=0.3), "min_p")):
        with pytest.raises(ConfigError, match=f"contrast.{message}=.* is not read with"):
            decode(lm, TEXTS, contrast=given, search=drawn)


def test_a_callable_is_a_rule_for_one_call(tiny: Tiny) -> None:
    """With an amateur and without one it makes the texts of the rule that it computes, and is forgotten afterwards."""
    lm, drawn = tiny("llama"), Search(SearchKind.sample, max_new_tokens=12, beams=1)
    shapes = set()

    def above(log_p: torch.Tensor) -> torch.Tensor:
        shapes.add(log_p.shape[1:])
        return log_p >= log_p.amax(-1, keepdim=True) + math.log(0.8)

    before = [one.name for one in RULES.every()]
    for amateur, search in ((2, SHORT), (None, drawn)):
        mine = decode(lm, TEXTS, amateur=amateur, lens="norm", rule=above, search=search)
        known = decode(
            lm, TEXTS, amateur=amateur, lens="norm", contrast=Contrast(plausibility="alpha", alpha=0.8), search=search
        )
        free = decode(lm, TEXTS, amateur=amateur, lens="norm", search=search)
        assert [one.token_ids for one in mine] == [one.token_ids for one in known]
        assert [one.token_ids for one in mine] != [one.token_ids for one in free]
    assert shapes == {(1, lm.parts.head_weight.shape[0]), (5, lm.parts.head_weight.shape[0])}
    likeliest = decode(lm, TEXTS, rule=lambda log_p: log_p > 0, search=drawn)
    greedy = decode(lm, TEXTS, search=Search(SearchKind.greedy, max_new_tokens=12, beams=1))
    assert [one.token_ids for one in likeliest] == [one.token_ids for one in greedy]
    kept = trace(lm, TEXTS[0], amateur=2, lens="norm", rule=above, search=SHORT)
    assert kept.continuation == decode(lm, TEXTS[:1], amateur=2, lens="norm", rule=above, search=SHORT)[0].continuation
    assert "above" in kept.label
    assert [one.name for one in RULES.every()] == before


def test_a_callable_is_a_gate_for_one_call(tiny: Tiny) -> None:
    """Shut, it leaves the mask; open, the contrast; and it may ask what a gate of ours asks."""
    lm, own = tiny("llama"), {"alpha": 0.05, "temperature": 0.5}

    def texts(gate: object = None, **contrast: object) -> list[str]:
        asked = Contrast(**own | contrast)  # type: ignore[arg-type]
        found = decode(lm, TEXTS, amateur=2, lens="norm", contrast=asked, gate=gate, search=SHORT)  # type: ignore[arg-type]
        return [one.continuation for one in found]

    def same(log_expert: torch.Tensor, amateur_logits: torch.Tensor) -> torch.Tensor:
        said = amateur_logits.masked_fill(log_expert == -math.inf, -math.inf)
        return log_expert.argmax(-1) == said.argmax(-1)

    shut, wide = (
        lambda log_expert, _amateur, value=value: torch.full(log_expert.shape[:2], value) for value in (False, True)
    )
    assert texts(shut) == texts(beta=0.0) != texts()
    assert texts(wide) == texts()
    asked = Contrast(**own, gate=Gate.agreement)  # type: ignore[arg-type]
    agreeing = decode(lm, TEXTS, amateur=2, lens="norm", contrast=asked, search=SHORT)
    assert texts(same) == [one.continuation for one in agreeing]
    assert "same" in trace(lm, TEXTS[0], amateur=2, lens="norm", gate=same, search=SHORT).label
    with pytest.raises(ConfigError, match="gate='agreement': expected a callable"):
        texts("agreement")
    with pytest.raises(ConfigError, match=r"gate and contrast\.gate=agreement are two gates"):
        decode(lm, TEXTS, amateur=2, contrast=Contrast(gate=Gate.agreement), gate=same)
    with pytest.raises(ConfigError, match="too many positional arguments"):
        texts(lambda log_expert: log_expert)


def test_a_rule_that_is_none_is_named(tiny: Tiny) -> None:
    lm = tiny("llama")

    def wrong(log_p: torch.Tensor) -> torch.Tensor:
        return log_p

    def broken(_log_p: torch.Tensor) -> torch.Tensor:
        raise ValueError("no rows")

    for rule, message in (
        ("min_p", "rule='min_p': expected a callable"),
        (wrong, r"rule=.*wrong \(.*test_api.py:\d+\) returned torch.float32 \[1, 1, 128\]: expected truth values"),
        (broken, r"rule=.*broken .* raised ValueError: no rows"),
    ):
        with pytest.raises((ConfigError, ModelError), match=message):
            decode(lm, TEXTS[:1], amateur=2, lens="norm", rule=rule, search=SHORT)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"contrast\.plausibility=min_p are two rules"):
        decode(lm, TEXTS, rule=wrong, contrast=Contrast(plausibility="min_p"))
    with pytest.raises(ConfigError, match=r"contrast\.alpha=0\.2 is not read with contrast\.plausibility="):
        decode(lm, TEXTS, amateur=2, lens="norm", rule=wrong, contrast=Contrast(alpha=0.2))


def test_plug_ins_and_their_settings_are_named_as_a_command_names_them(tiny: Tiny, tmp_path: Path) -> None:
    """The texts are the engine's, whatever class or function the plug-in is; what is wrong is named."""
    lm, fixed = tiny("llama"), {"settings": {"amateur.share": 0.4, "contrast.gap": 3}}
    rule = Contrast(plausibility="near_best", temperature=1.0)
    with plugged(tmp_path):
        found = decode(lm, TEXTS, amateur="blurred", contrast=rule, search=SHORT, **fixed)  # type: ignore[arg-type]
        how = setting(
            amateur=Amateur("blurred", settings=(("share", 0.4),)),
            alpha=1.0,
            plausibility=Plausibility("near_best", (("gap", 3.0),)),
        )
        for place, (text, generation) in enumerate(zip(TEXTS, found, strict=True)):
            ids = tuple(lm.tokenizer(text)["input_ids"])
            (expected,), _ = decode_batch(lm, [Lane(ids, how, f"prompt-{place}")], 8)
            assert generation.token_ids == expected.token_ids
        default = decode(lm, TEXTS, amateur="blurred", contrast=rule, search=SHORT)
        assert [text.score for text in default] != [text.score for text in found]
        traced = trace(lm, TEXTS[0], amateur="blurred", contrast=rule, search=SHORT, **fixed)  # type: ignore[arg-type]
        assert traced.continuation == found[0].continuation
        shallow = decode(lm, TEXTS, amateur="shallow", search=SHORT)  # it has a model of its own
        exit_ = decode(lm, TEXTS, amateur=2, lens="norm", search=SHORT)
        assert [text.token_ids for text in shallow] == [text.token_ids for text in exit_]
        mistakes = {
            "amateur.share=1.5 is out of range": {"settings": {"amateur.share": 1.5}},
            "amateur.share='much'": {"settings": {"amateur.share": "much"}},
            "'amateur.shar' is no setting of amateur='blurred' or of a plug-in that is imported. Did you": {
                "settings": {"amateur.shar": 1}
            },
            "contrast.gap=3.0 is not read with contrast.plausibility=null": {"settings": {"contrast.gap": 3}},
            "contrast.plausibility=best: there is none": {"contrast": Contrast(plausibility="best")},
        }
        for message, given in mistakes.items():
            with pytest.raises(ConfigError, match=re.escape(message)):
                decode(lm, TEXTS, amateur="blurred", search=SHORT, **given)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="Did you mean 'blurred'"):
            decode(lm, TEXTS, amateur="blured", search=SHORT)


def test_a_loaded_hugging_face_model_and_a_second_one(tiny_gpt2_folder: Path) -> None:
    """As somebody who has them in memory already; the amateur is subtracted, and is not the expert."""
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2_folder)
    attention = model.config._attn_implementation
    expert = load(model, tokenizer)
    small = language_model(build_model("gpt2", seed=1, n_positions=512), tokenizer, "small")
    contrasted = decode(expert, TEXTS, amateur=small, search=SHORT)
    assert contrasted != decode(expert, TEXTS, search=SHORT)
    assert decode(load(str(tiny_gpt2_folder)), TEXTS, search=SHORT)[0].continuation
    assert model.config._attn_implementation == attention, "the user's model is as it was"


def test_scores_come_with_the_references_and_comparisons(tiny: Tiny, prompts_file: Path) -> None:
    lm = tiny("llama")
    prompts = prompts_from(str(prompts_file), lm, max_new_tokens=12)
    arms = {
        "exit": decode(lm, prompts, amateur=2, lens="norm", search=SHORT),
        "alone": decode(lm, prompts, search=SHORT),
    }
    scored = score(arms, lm, metrics=["diversity", "perplexity_expert"])
    assert list(scored.scores) == ["exit", "alone", "human"]
    assert {(one.arm, one.against) for one in scored.comparisons} == {("exit", "alone")}
    assert scored.scores["human"]["perplexity_expert"].value > scored.scores["alone"]["perplexity_expert"].value
    without = score({"exit": arms["exit"]}, metrics=["diversity", "words"])
    assert without.scores["exit"]["diversity"].value == scored.scores["exit"]["diversity"].value


def test_texts_that_ended_by_themselves_are_scored_without_the_end_token(tiny: Tiny) -> None:
    """The log-probability counted the end token and the number of tokens did not: 80.3 for a perplexity of 76.8."""
    lm = tiny("llama")
    free = Search(SearchKind.sample, beams=1, samples=16, max_new_tokens=24, ban=Ban.none)
    texts = decode(lm, TEXTS, search=free)
    ended = [text for text in texts if text.token_ids and len(text.token_ids) < 24]
    assert ended, "some text ends by itself"
    names = ["perplexity_expert", "coherence_loglik"]
    found = score({"arm": texts}, lm, metrics=names).scores["arm"]
    sums = []
    for text in texts:
        ids = [*text.prompt_token_ids, *text.token_ids]
        log_p = lm.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        places = range(len(text.prompt_token_ids), len(ids))
        sums.append((sum(float(log_p[place - 1, ids[place]]) for place in places), len(text.token_ids)))
    plain = math.exp(-sum(total for total, _ in sums) / sum(tokens for _, tokens in sums))
    assert found["perplexity_expert"].value == pytest.approx(plain, rel=1e-4)
    means = [total / tokens for total, tokens in sums if tokens]
    assert found["coherence_loglik"].value == pytest.approx(sum(means) / len(means), rel=1e-4)


def test_another_models_tokens_and_log_probabilities_are_not_taken_for_the_scorers(tiny: Tiny, tmp_path: Path) -> None:
    """The same words under the scorer, whoever wrote them and in whatever tokens they came."""
    judge = language_model(build_model("gpt2", seed=7, n_positions=512), build_tokenizer("<|other|>"), "judge")
    writer = tiny("llama")
    texts = decode(writer, TEXTS, search=SHORT)
    bare = [replace(text, token_ids=(), prompt_token_ids=(), logprob_expert=None) for text in texts]
    by_hand = nll_rows(judge, with_tokens(texts, judge.tokenizer))
    for arm in (texts, bare):
        found = score({"arm": arm}, judge, metrics=["perplexity_expert"]).scores["arm"]["perplexity_expert"]
        assert found.value == pytest.approx(float(perplexity(by_hand)), rel=1e-5)
        assert "not known" in found.note
    assert (
        "the model that generated"
        in score({"arm": texts}, writer, metrics=["perplexity_expert"]).scores["arm"]["perplexity_expert"].note
    )


def test_a_trace(tiny: Tiny) -> None:
    found = trace(tiny("llama"), TEXTS[0], amateur=2, lens="norm", search=SHORT, candidates=3)
    assert found.continuation == decode(tiny("llama"), TEXTS[:1], amateur=2, lens="norm", search=SHORT)[0].continuation
    assert {len(step.candidates) for step in found.steps} == {3}


def test_layers_end_in_the_experts_own_choice(tiny: Tiny) -> None:
    lm = tiny("llama")
    found = layers(lm, TEXTS[0])
    assert found.layers == (1, 2, 3, 4)
    ids = lm.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert found.top[-1][-1] == lm.tokenizer.decode([int(lm.model(ids).logits[0, -1].argmax())])
    assert layers(lm, TEXTS[0], lens="raw", blocks=[2]).layers == (2, 4)
    with pytest.raises(ModelError, match="blocks=4"):
        layers(lm, TEXTS[0], blocks=[4])


def test_mistakes_are_named(tiny: Tiny, tmp_path: Path) -> None:
    lm = tiny("llama")
    other = language_model(build_model("gpt2", vocab_size=140), build_tokenizer(), "other")
    other.tokenizer.add_tokens(["<more>"])
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ModelError, "amateur=4", lambda: decode(lm, TEXTS, amateur=4)),
        (ConfigError, "expected", lambda: decode(lm, TEXTS, amateur=-1)),
        (
            ConfigError,
            "contrast.alpha=0",
            lambda: decode(lm, TEXTS, amateur=2, lens="norm", contrast=Contrast(alpha=0)),
        ),
        (ConfigError, "a list of texts", lambda: decode(lm, TEXTS[0])),
        (ConfigError, "at least one", lambda: decode(lm, [])),
        (PromptError, "yields no tokens", lambda: decode(lm, [""])),
        (ModelError, "vocabularies differ", lambda: decode(lm, TEXTS, amateur=other)),
        (ModelError, "exceed the context", lambda: decode(lm, TEXTS, search=Search(max_new_tokens=500))),
        (ModelError, "not a file", lambda: decode(lm, TEXTS, amateur=2, lens=str(tmp_path / "none.safetensors"))),
        (ConfigError, "give a number", lambda: decode(lm, TEXTS, contrast=Contrast(temperature="calibrated"))),
        (ConfigError, "at least one text", lambda: score({})),
        (ConfigError, "no such arm", lambda: score({"a": decode(lm, TEXTS, search=SHORT)}, against="b")),
        (ConfigError, "read by a language model", lambda: score({"a": decode(lm, TEXTS)}, metrics=["mauve"])),
        (ConfigError, "dtype=int4", lambda: load("gpt2", dtype="int4")),
        (ConfigError, "needs the model's tokenizer", lambda: load(build_model("gpt2"))),
        (ModelError, "training mode", lambda: load(build_model("gpt2").train(), build_tokenizer())),
        (ConfigError, "source=poems", lambda: prompts_from("poems", lm)),
        (ConfigError, "split=dev", lambda: prompts_from("news", lm, split="dev")),
    ]
    for kind, message, act in cases:
        with pytest.raises(kind, match=message):
            act()


def examples() -> list[str]:
    """What a stranger copies: the module's docstring, and the first block of docs/python.md."""
    assert api.__doc__ is not None
    page = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text("utf-8")
    of_docstring = "\n".join(line[4:] for line in api.__doc__.splitlines() if line.startswith("    "))
    return [of_docstring, page.split("```python\n")[1].split("```")[0]]


@pytest.mark.long
@pytest.mark.parametrize("example", examples(), ids=["docstring", "docs/python.md"])
def test_the_examples_run(example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    deep = language_model(build_model("llama", num_hidden_layers=30), build_tokenizer(), "deep")
    monkeypatch.setattr(api, "load", lambda *_: deep)
    exec(compile(example, "example", "exec"), {})  # noqa: S102 - our own text
    assert capsys.readouterr().out.strip()
