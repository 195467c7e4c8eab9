import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.raters.form import to_csv, to_html
from cdeval.score.raters.pairs import Sheet, draw_pairs

NASTY = "</script><script>alert(1)</script><img src=http://x.y onerror=alert(2)> & \u2028 \"'`{0}"


def arm(name: str, count: int = 40, extra: str = "") -> list[Generation]:
    return [Generation(f"doc#{i}", f"prompt {i}", (), None, f"{name} {i}{extra}", (), None, None) for i in range(count)]


def sheet(limit: int | None = None, seed: int = 0) -> Sheet:
    return draw_pairs(("A", "B"), arm("alpha"), arm("beta"), limit, seed)


def test_sides_are_balanced_order_is_random_and_the_key_says_who_is_where() -> None:
    drawn = sheet(limit=31)
    assert sum(pair.first_is_left for pair in drawn.pairs) in (15, 16)
    assert len({pair.first_is_left for pair in drawn.pairs[:10]}) == 2, "sides change along the sheet"
    ids = [pair.id for pair in drawn.pairs]
    assert len(set(ids)) == 31
    assert ids != sorted(ids, key=lambda name: int(name[4:]))
    for pair in drawn.pairs:
        number = pair.id.removeprefix("doc#")
        assert pair.prompt == f"prompt {number}"
        assert {pair.left, pair.right} == {f"alpha {number}", f"beta {number}"}
        wrote = drawn.key()["pairs"][pair.code]  # type: ignore[index]
        assert wrote == {"id": pair.id, "left": "A" if pair.left.startswith("alpha") else "B"}
    assert sheet(seed=0) == sheet(seed=0)
    assert sheet(seed=0).pairs != sheet(seed=1).pairs


def test_what_raters_get_does_not_say_who_wrote_what() -> None:
    """Neither labels nor prompts' ids; the first sample of each prompt only."""
    labels = ("early_exit k=26", "expert alone")
    drawn = draw_pairs(labels, [*arm("x"), *arm("second sample")], arm("y"), 10, 0)
    for given in (to_csv(drawn), to_html(drawn, "Which?")):
        assert not any(word in given for word in (*labels, "doc#", "second sample", "first_is_left"))


def test_only_prompts_with_two_different_texts_are_judged() -> None:
    drawn = draw_pairs(("A", "B"), arm("a", 5), [*arm("b", 3), arm("a", 4)[3]], None, 0)
    assert (len(drawn.pairs), drawn.unused, drawn.same) == (3, 1, 1)
    for other in ([], arm("a")):
        with pytest.raises(TextsError, match="no pair to judge"):
            draw_pairs(("A", "B"), arm("a"), other, None, 0)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "\n=1", "＝1"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    rows = list(
        csv.reader(
            io.StringIO(to_csv(draw_pairs(("A", "B"), _texts(text, text), _texts(text, "b"), None, 0)), newline="")
        )
    )
    assert len(rows) == 2
    for cell in rows[1]:
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝"))


def _texts(prompt: str, text: str) -> list[Generation]:
    return [Generation("1", prompt, (), None, text, (), None, None)]


def test_the_csv_gives_every_text_back() -> None:
    odd = [NASTY, 'a "quoted", comma; and\r\nlines', "中文 👩‍👧"]
    for text in odd:
        drawn = draw_pairs(("A", "B"), _texts(text, text), _texts(text, "b"), None, 0)
        (row,) = csv.DictReader(io.StringIO(to_csv(drawn), newline=""))
        assert {row["prompt"], row["left"], row["right"]} == {text, "b"}
        assert (row["vote"], row["rater"]) == ("", "")


class Page(HTMLParser):
    """Elements with their attributes, and the content of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in self.raw:
            self.raw[self.tags[-1][0]][-1] += data


def test_the_form_takes_no_text_for_html_and_asks_nobody() -> None:
    drawn = draw_pairs(("A", "B"), _texts(NASTY, NASTY), _texts(NASTY, "b"), None, 0)
    form = to_html(drawn, f"Which? {NASTY}")
    page = Page(form)
    assert [tag for tag, _ in page.tags if tag in {"script", "style", "img", "link", "iframe"}] == [
        "style",
        "script",
        "script",
    ]
    assert not [value for _, found in page.tags for name, value in found.items() if name in {"src", "href", "action"}]
    data, script = page.raw["script"]
    assert {drawn.pairs[0].left, drawn.pairs[0].right} == {NASTY, "b"}
    assert json.loads(data)["pairs"][0]["left"] == drawn.pairs[0].left
    (policy,) = [found["content"] for tag, found in page.tags if "http-equiv" in found]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for content, directive in ((script, "script-src"), (page.raw["style"][0], "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy, "the policy would block the page's own code"
    assert str(escape(NASTY)) in form
    assert "innerHTML" not in form
    assert not re.search(r"fetch|XMLHttpRequest|sendBeacon|import\(|WebSocket", script)


BROWSER = """
const kept = new Map(JSON.parse(process.argv[3]));
const saved = [];
function element(id) {
  return { id, dataset: {}, attributes: {}, listeners: {}, textContent: "", value: "", tagName: "DIV",
    setAttribute(name, value) { this.attributes[name] = value; },
    addEventListener(name, run) { this.listeners[name] = run; },
    focus() {}, click() { this.listeners.click && this.listeners.click(); } };
}
const elements = {};
const get = (id) => (elements[id] ??= element(id));
get("data").textContent = process.argv[2];
const buttons = ["left", "tie", "right"].map((side) => Object.assign(element(side), { dataset: { vote: side } }));
const keys = {};
globalThis.document = { getElementById: get, querySelectorAll: () => buttons, createElement: () => element("a"),
  addEventListener: (name, run) => { keys[name] = run; } };
globalThis.window = { scrollTo() {} };
globalThis.localStorage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
};
globalThis.Blob = class { constructor(parts) { saved.push(parts.join("")); } };
globalThis.URL = { createObjectURL: () => "blob:x", revokeObjectURL() {} };
new Function(require("fs").readFileSync(process.argv[4], "utf8"))();
const press = (key) => keys.keydown({ key, target: { tagName: "BODY" }, preventDefault() {} });
const name = (value) => get("rater").listeners.input({ target: { value } });
eval(process.argv[5]);
console.log(JSON.stringify({ saved, kept: [...kept], shown: get("left").textContent,
  progress: get("progress").textContent, pressed: buttons.map((b) => b.attributes["aria-pressed"]) }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="the form's script is tried with node")
def test_the_form_keeps_and_saves_votes(tmp_path: Path) -> None:
    """By keys and by buttons; a second visit goes on where the first one stopped."""
    drawn = sheet(limit=3)
    pairs = [{"code": p.code, "prompt": p.prompt, "left": p.left, "right": p.right} for p in drawn.pairs]
    data = json.dumps({"sheet": drawn.digest, "pairs": pairs})
    script = Path(to_html.__code__.co_filename).with_name("form.js")

    def visit(kept: object, actions: str) -> dict[str, object]:
        done = subprocess.run(
            ["node", "-e", BROWSER, "x", data, json.dumps(kept), str(script), actions],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = visit([], "press('s'); press('1'); press('2'); press('b'); buttons[2].click();")
    assert first["saved"] == [], "votes without a name would be nobody's"
    assert first["shown"] == drawn.pairs[2].left
    assert first["progress"] == "Pair 3 of 3, 2 judged"
    second = visit(first["kept"], "name('Ann Lee'); press('b'); press('s');")
    assert second["shown"] == drawn.pairs[1].left
    assert second["pressed"] == ["false", "false", "true"]
    assert json.loads(second["saved"][0]) == {  # type: ignore[index]
        "sheet": drawn.digest,
        "rater": "Ann Lee",
        "votes": {"p001": "left", "p002": "right"},
    }
    broken = visit([[f"cdeval-votes-{drawn.digest}", "{not json"]], "press('3')")
    assert broken["progress"] == "Pair 2 of 3, 1 judged"
