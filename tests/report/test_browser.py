"""The page in a real browser: headless Chromium, opened from the disk."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdeval.report.publish import write_report
from tests.report.studies import costs, setting, write_arm, write_study

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[browser]'")

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
WIDE, NARROW = 1280, 390


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("browser") / "s", layers=(4, 8, 12))
    for place, path in enumerate(sorted(folder.glob("*/generations.jsonl"))):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[1]["continuation"] = NASTY
        lines[2]["continuation"] = f"say it once again, say it once again, needle {place}"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return write_report(folder)


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
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.dataset.drawn") == "true", browser.get_log("browser")
    return browser


def column(browser: Any, place: int) -> list[str]:
    cells = "document.querySelectorAll('#results tbody tr:not([hidden])')"
    return list(browser.execute_script(f"return [...{cells}].map(row => row.cells[{place}].firstChild.textContent)"))


def type_into(browser: Any, name: str, text: str) -> None:
    field = browser.find_element("id", name)
    field.clear()
    field.send_keys(text)


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_it_draws_everything_says_nothing_and_asks_nobody(browser: Any, page: Path, width: int, scheme: str) -> None:
    opened(browser, page, width, scheme)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    drawn = "one.querySelector('svg.main-svg .cartesianlayer .trace')"
    empty = f"[...document.querySelectorAll('figure')].filter(one => !{drawn})"
    assert browser.execute_script(f"return {empty}.map(one => one.textContent)") == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, "nothing but the table scrolls sideways"


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
    opened(browser, write_report(folder), width)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('#pareto .textpoint text')].filter(one => one.textContent)"
        ".map(one => one.getBoundingClientRect()).map(at => [at.left, at.right, at.top, at.bottom])"
    )
    assert len(boxes) > 1 or width == NARROW, "nothing is named: the test saw nothing"
    for place, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert left >= other[1] or other[0] >= right or top >= other[3] or other[2] >= bottom


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
    assert column(browser, 7)[:4] == ["◆ on this front"] * 4
    browser.execute_script(
        "const y = document.getElementById('y-axis'); y.value = 'coherence'; y.dispatchEvent(new Event('change'))"
    )
    assert column(browser, 7)[:4] == ["behind it"] * 3 + ["◆ on this front"]


def test_a_point_under_the_mouse_points_at_its_row(browser: Any, page: Path) -> None:
    opened(browser, page)
    point = browser.find_elements("css selector", "#pareto .scatterlayer .point")[1]
    webdriver.ActionChains(browser).scroll_to_element(point).move_to_element(point).perform()
    pointed = browser.find_elements("css selector", "tr.pointed")
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
