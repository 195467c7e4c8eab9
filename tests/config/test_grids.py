"""An arm and its grid on one line: all of it, or as many settings as every arm has."""

import math

import pytest

from cdeval.config.grids import TunedArm, as_yaml, tuned_arm
from cdeval.config.schema import RunConfig
from cdeval.errors import ConfigError

KNOWN = ["nucleus", "min_p"]
SPACES = {"min_p": "search.min_p=0.05,0.1"}


def arm(line: str, count: int, seed: int = 0) -> TunedArm:
    return tuned_arm(line, KNOWN, SPACES, RunConfig, count, seed)


def test_a_grid_of_the_right_size_is_tried_in_its_order() -> None:
    found = arm("nucleus search.top_p=0.8,0.9 search.samples=2 search.temperature=range(1,4)", 6)
    assert found.fixed == ("+arm=nucleus", "search.samples=2")
    assert found.tried == tuple(
        (f"search.top_p={p}", f"search.temperature={t}") for p in ("0.8", "0.9") for t in (1, 2, 3)
    )
    assert arm("min_p", 2).tried == (("search.min_p=0.05",), ("search.min_p=0.1",))
    assert arm("amateur=none search=greedy,beam", 2).tried == (("search=greedy",), ("search=beam",))
    assert arm("amateur=none search=top_k", 1).tried == ((),)


def test_a_larger_grid_is_drawn_from_by_the_seed() -> None:
    line = "nucleus search.top_p=0.5,0.6,0.7,0.8 search.temperature=0.5,1,1.5,2"
    first, again, other = arm(line, 5), arm(line, 5), arm(line, 5, seed=1)
    assert first == again
    assert first.tried != other.tried
    assert len(set(first.tried)) == 5
    assert set(first.tried) <= set(arm(line, 16).tried)


def test_whole_numbers_are_drawn_whole() -> None:
    """However large: 4 digits of a number of tokens in powers of ten are no whole number to Hydra."""
    found = arm("nucleus search.top_k=int(interval(20000,90000))", 3).tried
    assert all(20000 <= int(word.removeprefix("search.top_k=")) <= 90000 for (word,) in found)


def test_numbers_are_drawn_from_intervals() -> None:
    line = "nucleus search.top_p=interval(0.5,0.9) search.temperature=tag(log,interval(0.01,100)) search.samples=1,2"
    found = arm(line, 400).tried
    values = [{one.split("=")[0]: float(one.split("=")[1]) for one in setting} for setting in found]
    assert len(set(found)) == 400
    assert all(0.5 <= one["search.top_p"] <= 0.9 for one in values)
    middle = sorted(one["search.temperature"] for one in values)[200]
    assert abs(math.log10(middle)) < 0.5, "as many below 1 as above it, on a log scale"
    assert {one["search.samples"] for one in values} == {1, 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nucleos search.top_p=0.8,0.9", "nucleos is the name of no arm. Did you mean 'nucleus'"),
        ("amateur=none nucleus", "nucleus is the name of no arm"),
        ("nucleus", "settings=3, and it has no grid"),
        ("min_p", "settings=3, and its grid has 2 settings.*give settings=2, or more values"),
        ("nucleus search.samples=int(interval(1,2))", "its grid has 2 settings"),
        ("nucleus search.topp=0.8,0.9", "there is no 'topp' in search"),
        ("nucleus 'search.top_p=0.8", "cannot be read: No closing quotation"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arm(line, 3)


def test_overrides_become_a_file() -> None:
    groups, values = as_yaml(["amateur=none", "search.top_p=0.9", "search.ban=eos", "seed=3"], RunConfig)
    assert groups == {"amateur": "none"}
    assert values == {"search": {"top_p": 0.9, "ban": "eos"}, "seed": 3}
