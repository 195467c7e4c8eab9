"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const made = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // never innerHTML: texts are texts
  return node;
};
const CONFIG = { displayModeBar: false, responsive: true };
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");

// ---- pictures: colours of text, grid and paper are the page's
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: line, linecolor: soft, tickfont: { color: soft, size: narrow.matches ? 11 : 12 } };
  const merged = (own) => ({ ...axis, ...own, ...(own && own.title ? { title: { ...own.title, font: { size: 12 } } } : {}) });
  return {
    ...layout,
    xaxis: merged(layout.xaxis),
    yaxis: merged(layout.yaxis),
    font: { color: ink, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { align: "left", font: { size: 13 } },
    dragmode: false,
  };
}
function drawFigures() {
  for (const [name, figure] of Object.entries(page.figures))
    Plotly.react(byId(`figure-${name}`), figure.data, themed(figure.layout), CONFIG);
}

// ---- quality against cost
const X = byId("x-axis"), Y = byId("y-axis");
const measure = (name) => page.measures.find((one) => one.name === name);
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const visible = new Set(page.arms.keys());
function drawPareto() {
  if (!X) return;
  const x = measure(X.value), y = measure(Y.value);
  const front = new Set(page.fronts[`${x.name} ${y.name}`] || []);
  const known = [...page.arms.keys()].filter((at) => {
    const arm = page.arms[at];
    return arm.role !== "human" && arm.values[x.name] && arm.values[y.name];
  });
  const values = (at, name) => page.arms[at].values[name];
  const traces = [];
  const line = known.filter((at) => front.has(at)).sort((a, b) => values(a, x.name)[0] - values(b, x.name)[0]);
  if (line.length > 1)
    traces.push({
      x: line.map((at) => values(at, x.name)[0]), y: line.map((at) => values(at, y.name)[0]),
      mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: "#888888", width: 1.5, dash: "dot" },
    });
  const style = getComputedStyle(document.documentElement);
  const named = names(known, front, x.name, y.name);
  for (const [kind, [color, symbol]] of Object.entries(page.styles)) {
    const mine = known.filter((at) => page.arms[at].kind === kind);
    if (!mine.length) continue;
    const width = (name, end) => mine.map((at) => {
      const [value, low, high] = values(at, name);
      return low === null ? 0 : Math.max(0, end > 0 ? high - value : value - low);
    });
    const bars = (name) => ({ type: "data", symmetric: false, array: width(name, 1), arrayminus: width(name, -1), color, thickness: 1, width: 0 });
    traces.push({
      x: mine.map((at) => values(at, x.name)[0]), y: mine.map((at) => values(at, y.name)[0]),
      error_y: bars(y.name), error_x: bars(x.name),
      mode: "markers+text", name: kind, customdata: mine,
      // On a phone a long name would leave the picture; a touch shows it.
      text: mine.map((at) => (named.has(at) && !(narrow.matches && page.arms[at].short.length > 24) ? escaped(page.arms[at].short) : "")),
      textposition: mine.map((at) => place(at, known, x.name)), textfont: { size: narrow.matches ? 10 : 12 }, cliponaxis: false,
      hovertemplate: mine.map((at) => hover(page.arms[at]) + "<extra></extra>"),
      marker: {
        color, symbol, size: mine.map((at) => (front.has(at) ? 13 : 10)),
        opacity: mine.map((at) => (visible.has(at) ? 1 : 0.15)),
        line: { width: mine.map((at) => (front.has(at) ? 2 : 0)), color: style.getPropertyValue("--ink").trim() },
      },
    });
  }
  const human = page.arms.find((arm) => arm.role === "human" && arm.values[y.name]);
  const level = human && human.values[y.name][0];
  const layout = {
    xaxis: { title: { text: escaped(x.heading) }, automargin: true, fixedrange: true, zeroline: false },
    yaxis: { title: { text: escaped(y.heading) }, automargin: true, fixedrange: true, zeroline: false },
    margin: { l: 52, r: 16, t: 16, b: 48 }, height: narrow.matches ? 380 : 460, showlegend: false, hovermode: "closest",
    shapes: level === undefined ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, line: { color: "#009988", width: 1.5, dash: "dot" } }],
    annotations: level === undefined ? [] : [{ text: "human", showarrow: false, xref: "paper", x: 1, xanchor: "right", y: level, yanchor: "bottom", font: { color: "#009988", size: 12 } }],
  };
  Plotly.react(byId("pareto"), traces, themed(layout), CONFIG);
  mark(front, x, y);
}
// Which points are named: controls and the front first, and none whose name would lie on another's.
function names(known, front, xName, yName) {
  const share = (at, name) => {
    const all = known.map((one) => page.arms[one].values[name][0]);
    const low = Math.min(...all), reach = Math.max(...all) - low;
    return reach ? (page.arms[at].values[name][0] - low) / reach : 0;
  };
  const rank = (at) => (page.arms[at].role === "control" ? 0 : front.has(at) ? 1 : 2);
  // A name's share of the picture, from its signs: plotly draws them when it is too late to choose.
  const sign = narrow.matches ? 6 : 7.2, across = Math.max(200, byId("pareto").clientWidth - 68) / 1.1;
  const high = narrow.matches ? 0.07 : 0.055;
  const taken = [], found = new Set();
  for (const at of [...known].sort((a, b) => rank(a) - rank(b))) {
    const [x, y] = [share(at, xName), share(at, yName)];
    const wide = (12 + sign * page.arms[at].short.length) / across;
    const [start, end] = place(at, known, xName) === "middle left" ? [x - wide, x] : [x, x + wide];
    if (taken.some(([from, to, v]) => start < to && end > from && Math.abs(y - v) < high)) continue;
    taken.push([start, end, y]);
    found.add(at);
  }
  return found;
}
// Names stand left of the points in the right half, so that none leaves the picture.
function place(at, known, name) {
  const all = known.map((one) => page.arms[one].values[name][0]);
  const middle = (Math.min(...all) + Math.max(...all)) / 2;
  return page.arms[at].values[name][0] > middle ? "middle left" : "middle right";
}
function hover(arm) {
  const lines = page.measures.filter((one) => arm.shown[one.name]).map((one) => {
    const [value, detail] = arm.shown[one.name];
    return `${escaped(one.heading)}: <b>${escaped(value)}</b>${detail ? ` (${escaped(detail)})` : ""}`;
  });
  return [`<b>${escaped(arm.label)}</b>`, ...lines].join("<br>");
}

// ---- the table
const rows = [...document.querySelectorAll("#results tbody tr")];
const rowOf = (at) => rows.find((row) => Number(row.dataset.arm) === at);
function mark(front, x, y) {
  for (const row of rows) {
    const at = Number(row.dataset.arm), arm = page.arms[at];
    const judged = front.size && arm.role !== "human" && arm.values[x.name] && arm.values[y.name];
    row.classList.toggle("front", Boolean(judged && front.has(at)));
    row.classList.toggle("dominated", Boolean(judged && !front.has(at)));
    row.querySelector(".place").textContent = judged ? (front.has(at) ? "◆ on this front" : "behind it") : "–";
  }
}
function sortBy(header) {
  const column = header.cellIndex;
  const up = header.getAttribute("aria-sort") === "none" ? header.dataset.first !== "descending" : header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentNode.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.value;
  const missing = (value) => value === undefined || value === "";
  rows.sort((a, b) => {
    const [one, two] = [key(a), key(b)];
    if (missing(one) || missing(two)) return missing(one) - missing(two); // what has no value stands last, either way
    const order = column ? Number(one) - Number(two) : one.localeCompare(two, undefined, { numeric: true });
    return up ? order : -order;
  });
  rows[0].parentNode.append(...rows);
}
function filterRows() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  visible.clear();
  for (const row of rows) {
    const at = Number(row.dataset.arm);
    const fits = words.every((word) => page.arms[at].label.toLowerCase().includes(word));
    row.hidden = !fits;
    if (fits) visible.add(at);
  }
  byId("filtered").textContent = `${visible.size} of ${rows.length}`;
  drawPareto();
}
function link() {
  for (const header of document.querySelectorAll("#results thead th[aria-sort]"))
    header.querySelector("button").addEventListener("click", () => sortBy(header));
  byId("filter").addEventListener("input", filterRows);
  if (!X) return;
  for (const select of [X, Y]) select.addEventListener("change", drawPareto);
  const plot = byId("pareto");
  const point = (at, on) => rowOf(at) && rowOf(at).classList.toggle("pointed", on);
  plot.on("plotly_hover", (event) => event.points.forEach((one) => point(one.customdata, true)));
  plot.on("plotly_unhover", () => rows.forEach((row) => row.classList.remove("pointed")));
  plot.on("plotly_click", (event) => show(event.points[0].customdata));
  for (const row of rows) {
    row.addEventListener("mouseenter", () => {
      const at = Number(row.dataset.arm);
      const curve = plot.data.findIndex((trace) => trace.customdata && trace.customdata.includes(at));
      if (curve >= 0) Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: plot.data[curve].customdata.indexOf(at) }]);
    });
    row.addEventListener("mouseleave", () => Plotly.Fx.unhover(plot));
  }
}

// ---- texts side by side
const chosen = new Set(page.first);
let found = [...page.texts.keys()], current = 0, query = "";
function search() {
  query = byId("search").value.trim().toLowerCase();
  const fits = (one) => !query || [one.prompt, ...one.texts.map(([, , text]) => text)].some((text) => text.toLowerCase().includes(query));
  found = [...page.texts.keys()].filter((at) => fits(page.texts[at]));
  current = 0;
  showTexts();
}
function step(by) {
  if (found.length) current = (current + by + found.length) % found.length;
  showTexts();
}
function show(at) {
  chosen.add(at);
  const box = document.querySelector(`#chips input[value="${at}"]`);
  if (box) box.checked = true;
  showTexts();
}
function showTexts() {
  const cards = byId("cards");
  cards.replaceChildren();
  byId("which").textContent = found.length
    ? `prompt ${current + 1} of ${found.length}${query ? ` with “${query}”` : ""}` : `no prompt and no text holds “${query}”`;
  if (!found.length) return;
  const one = page.texts[found[current]];
  cards.append(card(`Prompt ${one.id}`, one.prompt, [], "card beginning"));
  for (const [at, sample, text, spans] of one.texts)
    if (chosen.has(at)) cards.append(card(page.arms[at].label + (sample ? `, sample ${sample + 1}` : ""), text, spans, "card"));
}
function card(title, text, spans, className) {
  const node = made("article", className);
  const body = made("p", "text");
  node.append(made("h3", "", title), body);
  const kinds = new Array(text.length).fill(0);
  for (let at = 0; at < spans.length; at += 2) kinds.fill(1, spans[at], spans[at + 1]);
  const low = text.toLowerCase();
  if (query && low.length === text.length)
    for (let at = low.indexOf(query); at >= 0; at = low.indexOf(query, at + query.length)) kinds.fill(2, at, at + query.length);
  for (let start = 0, end = 0; start < text.length; start = end) {
    while (end < text.length && kinds[end] === kinds[start]) end++;
    const part = text.slice(start, end);
    body.append(kinds[start] ? made("mark", kinds[start] === 2 ? "hit" : "repeat", part) : part);
  }
  return node;
}
function chips() {
  const home = byId("chips");
  page.arms.forEach((arm, at) => {
    const label = made("label"), box = made("input");
    Object.assign(box, { type: "checkbox", value: at, checked: chosen.has(at) });
    box.addEventListener("change", () => { chosen[box.checked ? "add" : "delete"](at); showTexts(); });
    label.append(box, ` ${arm.label}`);
    home.append(label);
  });
  byId("search").addEventListener("input", search);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
}

drawFigures();
drawPareto();
link();
if (page.texts.length) { chips(); showTexts(); }
for (const query of [dark, narrow]) query.addEventListener("change", () => { drawFigures(); drawPareto(); });
// Paper is narrower than the screen, and white.
for (const moment of ["beforeprint", "afterprint"])
  addEventListener(moment, () => { for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(plot); });
document.documentElement.dataset.drawn = "true";
