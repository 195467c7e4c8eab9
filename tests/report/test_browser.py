"""The page in a real browser: headless Chromium, opened from the disk."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdeval.report.charts import charts_of
from cdeval.report.joined import joined
from cdeval.report.page import to_html
from cdeval.report.publish import fronts_of
from cdeval.report.studyfiles import Study, read_study
from tests.report.studies import (
    costs,
    setting,
    write_arm,
    write_grid,
    write_quickstart,
    write_study,
    write_text_scores,
)

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[browser]'")
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver on this machine"),
]
# Without these a browser that nobody asked anything looks up its maker's hosts.
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NASTY = "</script><script>document.title='owned'</script></style><img src=x onerror=\"document.title='owned'\"> end"
WIDE, NARROW = 1400, 390
# How many labels there are in pictures, legends and lists of controls, and those of them that lie on one another.
OVERLAPS = """
const boxed = nodes => [...nodes].map(one => [one.textContent, one.getBoundingClientRect()]);
const words = plot => [...plot.querySelectorAll('text')].filter(one => one.textContent.trim());
const wide = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left);
const tall = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
const plots = [...document.querySelectorAll('.js-plotly-plot')].map(plot => boxed(words(plot)));
const lists = [...document.querySelectorAll('.legend, .controls, nav')].map(list => boxed(list.children));
const groups = [...plots, ...lists].map(group => group.filter(([, at]) => at.width && at.height));
const under = ([name, at], others) => others.filter(([, other]) => wide(at, other) > 1 && tall(at, other) > 1)
  .map(([other]) => `${name} / ${other}`);
return [groups.flat().length, groups.flatMap(group => group.flatMap((one, at) => under(one, group.slice(at + 1))))];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("browser") / "s", layers=(4, 8, 12))
    for place, path in enumerate(sorted(folder.glob("*/generations.jsonl"))):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[1]["continuation"] = NASTY
        lines[2]["continuation"] = f"say it once again, say it once again, needle {place}"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return written(read_study(folder))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")
    driver.get_log("performance")  # what the browser's own first page asked for
    yield driver
    driver.quit()


def opened(browser: Any, page: Path, width: int = WIDE, scheme: str = "light") -> Any:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme_is = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_is]})
    visit(browser, page.as_uri())
    return browser


def visit(browser: Any, address: str) -> None:
    """Two browsers on two cores: a page may be there before its scripts have run and its pictures are drawn."""
    browser.get(address)
    script = "return document.documentElement.dataset.drawn"
    drawn = eventually(lambda: browser.execute_script(script), lambda drawn: drawn is not None)
    assert drawn == "true", browser.get_log("browser")


def eventually(read: Callable[[], Any], holds: Callable[[Any], bool], seconds: float = 20) -> Any:
    """What ``read`` returns once ``holds`` is true of it, or its last answer when the time is over."""
    until = time.monotonic() + seconds
    while not holds(found := read()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def column(browser: Any, place: int) -> list[str]:
    cells = "document.querySelectorAll('#results tbody tr:not([hidden])')"
    return list(browser.execute_script(f"return [...{cells}].map(row => row.cells[{place}].firstChild.textContent)"))


def places(browser: Any) -> list[str]:
    cells = "document.querySelectorAll('#results tbody .place')"
    return list(browser.execute_script(f"return [...{cells}].map(cell => cell.textContent)"))


def choose(browser: Any, name: str, value: str) -> None:
    change = (
        f"const one = document.getElementById('{name}'); one.value = '{value}'; one.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(change)


def type_into(browser: Any, name: str, text: str) -> None:
    field = browser.find_element("id", name)
    field.clear()
    field.send_keys(text)


@pytest.fixture(scope="module")
def pages(page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    studies = [read_study(write_grid(folder / "grid")), read_study(write_quickstart(folder / "quickstart"))]
    found = {study.name: written(study) for study in (*studies, joined(studies, folder))}
    return {"few": page, "joint": found.pop("grid + quickstart"), **found}


def written(study: Study) -> Path:
    """The page alone: the pictures beside it take seconds."""
    page = study.folder / "report.html"
    page.write_text(to_html(study, charts_of(study), fronts_of(study)), encoding="utf-8")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("study", ["few", "grid", "quickstart", "joint"])
def test_all_is_drawn_no_label_lies_on_another_and_nobody_is_asked(
    browser: Any, pages: dict[str, Path], study: str, width: int, scheme: str
) -> None:
    page = pages[study]
    opened(browser, page, width, scheme)
    labels, overlapping = browser.execute_script(OVERLAPS)
    assert overlapping == []
    assert labels > 40, "the test saw nothing"
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    drawn = "one.querySelector('svg.main-svg .cartesianlayer :is(.trace, .hm image)')"
    empty = f"[...document.querySelectorAll('figure')].filter(one => !{drawn})"
    assert browser.execute_script(f"return {empty}.map(one => one.textContent)") == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, "nothing but tables and parallel coordinates scroll sideways"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_arms_stay_in_sight_where_the_table_scrolls(browser: Any, pages: dict[str, Path], width: int) -> None:
    opened(browser, pages["grid"], width)
    for box in browser.find_elements("css selector", "#columns input:not(:checked)"):
        browser.execute_script("arguments[0].click()", box)
    place = (
        "const at = document.querySelector('#results tbody th').getBoundingClientRect();"
        "return [at.left, at.right, document.querySelector('#results').parentNode.getBoundingClientRect().left]"
    )
    before = browser.execute_script(place)
    browser.execute_script("document.querySelector('#results').parentNode.scrollLeft = 200")
    assert browser.execute_script(place) == before
    assert before[1] - before[0] < 0.5 * width, "and leave room for the numbers"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_name_in_the_picture_lies_on_another(browser: Any, tmp_path: Path, width: int) -> None:
    """Long names left of their points reach over to those on the other side."""
    folder = tmp_path / "s"
    for place in range(12):
        label = f"early_exit k={place} lens-of-{place}-texts α=0.{place} β=0.{place} T=0.{place}, nucleus p=.9{place}"
        row = {"label": label, "role": "arm", "folder": f"{place}"}
        score = {"diversity": 0.5 + 0.02 * (place // 2), "coherence": 0.5}
        cost = 0.6 if place == 0 else 1.6 - 0.55 * (place % 2)
        write_arm(folder, row, ["x"], score, setting(layer=place), costs(cost))
    opened(browser, written(read_study(folder)), width)
    names = "return [...document.querySelectorAll('#pareto .textpoint text')].filter(one => one.textContent).length"
    assert browser.execute_script(names) > 1 or width == NARROW, "nothing is named: the test saw nothing"
    assert browser.execute_script(OVERLAPS)[1] == []


def test_the_table_sorts_both_ways_and_keeps_what_is_missing_last(browser: Any, page: Path) -> None:
    opened(browser, page)
    heading = "//table[@id='results']//button[contains(., '{}')]"
    browser.find_element("xpath", heading.format("diversity")).click()
    assert column(browser, 1) == ["0.900", "0.567", "0.533", "0.500", "0.300"]
    browser.find_element("xpath", heading.format("diversity")).click()
    assert column(browser, 1) == ["0.300", "0.500", "0.533", "0.567", "0.900"]
    for _ in range(2):
        browser.find_element("xpath", heading.format("MAUVE")).click()
        assert column(browser, 2)[-1] == "–", "the human texts have no MAUVE"


def test_the_filter_hides_rows_and_fades_their_points(browser: Any, page: Path) -> None:
    opened(browser, page)
    type_into(browser, "filter", "K=8 beam")
    assert column(browser, 1) == ["0.533"]
    opacity = browser.execute_script("return document.getElementById('pareto').data.map(t => t.marker?.opacity)")
    assert sorted(value for values in opacity if values for value in values) == [0.15, 0.15, 0.15, 1]


def test_the_front_follows_the_axes(browser: Any, page: Path) -> None:
    opened(browser, page)
    assert places(browser)[:4] == ["◆ on this front"] * 4
    choose(browser, "y-axis", "coherence")
    assert places(browser)[:4] == ["behind it"] * 3 + ["◆ on this front"]


def test_what_a_reader_chose_is_in_the_address_and_comes_back(browser: Any, page: Path) -> None:
    opened(browser, page)
    type_into(browser, "filter", "k=8 beam")
    choose(browser, "y-axis", "coherence")
    browser.find_element("xpath", "//table[@id='results']//button[contains(., 'compute')]").click()
    browser.execute_script("document.querySelector('#columns input[value=mauve]').click()")
    browser.find_element("css selector", "nav a[href='#table']").click()
    # The page hears of the new section a moment after the click.
    address = eventually(lambda: browser.current_url, lambda url: "#table?" in url)
    assert "#table?" in address
    browser.get("about:blank")
    visit(browser, address)
    assert browser.execute_script("return document.getElementById('filter').value") == "k=8 beam"
    assert column(browser, 1) == ["0.533"]
    assert browser.execute_script("return document.getElementById('y-axis').value") == "coherence"
    headers = browser.find_elements("css selector", "#results thead th[data-name]:not([hidden])")
    assert [one.get_attribute("data-name") for one in headers][:3] == ["arm", "diversity", "coherence"]
    assert [one.get_attribute("data-name") for one in headers if one.get_attribute("aria-sort") == "ascending"] == [
        "flops_per_token"
    ]
    assert browser.execute_script("return scrollY") > 0, "the section of the address is in sight"
    assert browser.get_log("browser") == []


def test_points_are_reached_by_the_keyboard(browser: Any, page: Path) -> None:
    opened(browser, page)
    plot = browser.find_element("id", "pareto")
    browser.execute_script("arguments[0].focus()", plot)
    plot.send_keys(Keys.ARROW_RIGHT)
    assert browser.find_element("id", "spoken").get_attribute("textContent").startswith("early_exit k=4")
    box = "return document.querySelector('#chips input[value=\"0\"]').checked"
    assert not browser.execute_script(box)
    plot.send_keys(Keys.ENTER)
    assert browser.execute_script(box), "its texts are shown"
    plot.send_keys(Keys.END)
    assert browser.find_element("id", "spoken").get_attribute("textContent").startswith("expert alone")


def test_the_grid_is_a_map_of_two_numbers_and_a_line_an_arm(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["grid"])
    cells = browser.execute_script("return document.getElementById('heat').data[0].z")
    assert [len([one for one in row if one is not None]) for row in cells] == [4] * 3, "α up, layers across, one β"
    assert len(browser.execute_script("return document.getElementById('parallel').data.map(one => one.name)")) == 36
    choose(browser, "heat-y", "contrast.beta")
    choose(browser, "heat-rest", "plausibility threshold α 0.3")
    cell = "const [map] = document.getElementById('heat').data; return [map.x[3], map.y[2], map.customdata[2][3][0]]"
    layer, beta, hover = browser.execute_script(cell)
    assert (layer, beta) == ("29", "2")
    assert "k=29 linear lens α=0.3 β=2" in hover
    opened(browser, pages["quickstart"])
    assert not browser.find_elements("id", "heat"), "five unlike arms are no grid"


def test_prompts_are_sorted_by_the_scores_of_an_arms_texts(browser: Any, tmp_path: Path) -> None:
    folder = write_quickstart(tmp_path / "s")
    write_text_scores(folder / "arm-1", "coherence", [0.5, 0.25, 1.0, 0.75])
    opened(browser, written(read_study(folder)))
    choose(browser, "order-arm", "1")
    choose(browser, "order-by", "coherence")
    shown = lambda: browser.find_element("css selector", ".card.beginning h3").text  # noqa: E731
    assert shown() == "Prompt doc-1"
    assert "coherence 0.25" in [one.text for one in browser.find_elements("css selector", ".scores")]
    browser.find_element("id", "next").click()
    assert shown() == "Prompt doc-0"
    choose(browser, "order-way", "highest")
    assert shown() == "Prompt doc-2"


def test_a_point_under_the_mouse_points_at_its_row(browser: Any, page: Path) -> None:
    opened(browser, page)
    point = browser.find_elements("css selector", "#pareto .scatterlayer .point")[1]
    webdriver.ActionChains(browser).scroll_to_element(point).move_to_element(point).perform()
    pointed = eventually(
        lambda: browser.find_elements("css selector", "tr.pointed"), bool
    )  # plotly waits a moment, too
    assert [row.get_attribute("data-arm") for row in pointed] == ["1"]


def test_texts_are_texts_repeats_are_marked_and_the_search_finds(browser: Any, page: Path) -> None:
    opened(browser, page)
    title = browser.title
    browser.find_element("id", "next").click()
    shown = [node.text for node in browser.find_elements("css selector", ".card:not(.beginning) .text")]
    assert shown == [NASTY] * 3
    assert browser.title == title, "a text ran as a script"
    browser.find_element("id", "next").click()
    marks = browser.find_elements("css selector", "mark.repeat")
    assert {mark.text for mark in marks} == {"say it once again,"}
    type_into(browser, "search", "NEEDLE 4")
    assert "prompt 1 of 1" in browser.find_element("id", "which").text
    type_into(browser, "search", "nobody wrote this")
    assert "no prompt" in browser.find_element("id", "which").text
    assert browser.find_elements("css selector", ".card") == []
