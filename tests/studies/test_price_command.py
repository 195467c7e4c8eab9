"""`python -m cdeval.price`: architectures on paper, against the field's own figures."""

import json
from pathlib import Path

import pytest

from cdeval.config.enums import Dtype
from cdeval.errors import ConfigError, ModelError
from cdeval.price.config import PriceRun, validate_price
from cdeval.price.drafting import read_accepted
from cdeval.price.pipeline import run_prices, worst_difference
from cdeval.price.tables import price_tables


def test_the_seeds_claim_on_paper(tmp_path: Path) -> None:
    """GPT-2 XL: an exit head costs less than GPT-2 small. OPT-13B: more. Formula and count agree to 1 %."""
    accepted = {"lens": "linear", "accepted_likeliest": 0.4, "accepted_drawn": 0.3}
    whole = {"layer": 30, "lens": "expert", "accepted_likeliest": 1.0, "accepted_drawn": 0.8}
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"scores": [{"layer": 15, **accepted}, whole]}))
    pairs = ["gpt2-xl+gpt2", "opt-13b+opt-125m"]
    config = validate_price(PriceRun(pairs, new_tokens=16, drafting=str(file), out=str(tmp_path / "p.json")))
    found = run_prices(config, say=lambda _line: None)
    by_arm = {(price.pair, price.arm.split(" ")[0], price.arm): price for price in found.prices}
    assert worst_difference(found.prices) < 0.01
    over = {(pair, word): price for (pair, word, arm), price in by_arm.items() if arm.split(", ")[-1] == arm}
    xl, opt = "gpt2-xl+gpt2", "opt-13b+opt-125m"
    assert over[xl, "early"].flops_overhead < over[xl, "small"].flops_overhead < over[xl, "truncated"].flops_overhead
    assert over[opt, "early"].flops_overhead > over[opt, "small"].flops_overhead
    assert over[xl, "early"].parameters_overhead == over[xl, "early"].cache_overhead == 0
    assert over[xl, "early"].bytes_overhead < 0.01, "the head's weights have been read for the expert's rows"
    assert over[xl, "small"].bytes_overhead == pytest.approx(over[xl, "small"].parameters_overhead, abs=0.01)
    lens, exit_ = by_arm[xl, "early", "early exit, linear lens"], over[xl, "early"]
    assert lens.parameters - exit_.parameters == 1600 * 1601
    assert 0 < lens.flops_overhead - exit_.flops_overhead < 0.002, (
        "a product of 1600² beside 48 blocks of twelve of them"
    )
    assert over[xl, "expert"].parameters == 1_557_611_200
    assert len(json.loads((tmp_path / "p.json").read_text())) == 12
    assert [[one.layer for one in found.drafting[pair]] for pair in pairs] == [[24], [20]]
    assert json.loads((tmp_path / "p-drafting.json").read_text())[xl][0]["greedy"]["accepted"] == 0.4
    assert [table.row_count for table in price_tables(found.prices)] == [6, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": []}, "names no model"),
        ({"pairs": ["a+b+c"]}, "no pair"),
        ({"pairs": ["gpt2+"]}, "no pair"),
        ({"dtype": Dtype.auto}, "depends on a machine"),
        ({"beams": 0}, "beams=0"),
        ({"truncated": 1.0}, "share of the blocks"),
        ({"bandwidth": float("nan")}, "bandwidth=nan"),
        ({"out": "table.txt"}, "ends with .json"),
    ],
)
def test_what_cannot_be_priced(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate_price(PriceRun(**changes))  # type: ignore[arg-type]


def test_the_lens_commands_file_is_read(tmp_path: Path) -> None:
    """What was measured on an expert of 30 blocks."""
    file = tmp_path / "scores.json"
    exits = [{"layer": k, "lens": "norm", "accepted_likeliest": k / 60, "accepted_drawn": 0.25} for k in (15, 28)]
    whole = {"layer": 30, "lens": "expert", "accepted_likeliest": 1.0, "accepted_drawn": 0.8}
    file.write_text(json.dumps({"scores": [*exits, whole]}))
    measured = read_accepted(file)
    assert (measured.depth, [one.layer for one in measured.exits]) == (30, [15, 28])
    assert measured.exits[0].likeliest == 0.25


ACCEPTED = {"layer": 3, "lens": "norm", "accepted_likeliest": 1, "accepted_drawn": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expected the JSON file"),
        ("[]", "Expected the JSON file"),
        (json.dumps({"scores": [{"layer": 3, "lens": "norm"}]}), "accepted_likeliest"),
        (json.dumps({"scores": [{**ACCEPTED, "accepted_drawn": 2}]}), "shares"),
        (json.dumps({"scores": [ACCEPTED]}), "expert"),
    ],
)
def test_what_no_lens_command_wrote(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "scores.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_accepted(file)
    with pytest.raises(ConfigError, match="nowhere"):
        run_prices(PriceRun(["gpt2"], drafting=str(tmp_path / "nowhere.json")), say=lambda _line: None)


def test_vocabularies_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be the amateur"):
        run_prices(PriceRun(["gpt2-xl+opt-125m"], out=str(tmp_path / "p.json")), say=lambda _line: None)
    assert not (tmp_path / "p.json").exists()
