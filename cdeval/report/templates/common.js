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
const visible = new Set(page.arms.keys()); // arms that the filter leaves
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const measure = (name) => page.measures.find((one) => one.name === name);
const isHuman = (at) => page.arms[at].role === "human";

// ---- the address: what a reader chose follows a "?" behind the section, as #table?filter=k%3D8
const address = (() => {
  const [section, chosen] = location.hash.slice(1).split("?");
  return { section, chosen: new URLSearchParams(chosen) };
})();
function remember(name, value, usual) {
  if (value === usual) address.chosen.delete(name);
  else address.chosen.set(name, value);
  const chosen = address.chosen.toString();
  history.replaceState(null, "", `#${address.section}${chosen ? `?${chosen}` : ""}`);
}
addEventListener("hashchange", () => {
  if (location.hash.includes("?")) location.reload(); // another address was typed
  address.section = location.hash.slice(1);
  remember("", "", "");
});
// A list of choices that the address keeps; what it names and the list lacks is passed over.
function keep(select, name, changed) {
  const usual = select.value, given = address.chosen.get(name);
  if (given !== null && [...select.options].some((one) => one.value === given)) select.value = given;
  select.addEventListener("change", () => { remember(name, select.value, usual); changed(); });
}

// ---- room for words: each takes a box [left, right, top, bottom] in pixels, and none lies on another
const pen = document.createElement("canvas").getContext("2d");
function wordWidth(text, size) {
  pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}
class Room {
  constructor() { this.taken = []; }
  take(...boxes) { this.taken.push(...boxes); }
  free([left, right, top, bottom]) { return !this.taken.some(([l, r, t, b]) => left < r && right > l && top < b && bottom > t); }
  // The first of several boxes that lies on none; undefined where all do.
  find(boxes) {
    const found = boxes.findIndex((box) => this.free(box));
    if (found >= 0) this.take(boxes[found]);
    return found < 0 ? undefined : found;
  }
}

// ---- pictures: colours of text, grid and paper are the page's
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function themed(layout) {
  const soft = color("--soft");
  const axis = { gridcolor: color("--line"), linecolor: soft, tickfont: { color: soft, size: narrow.matches ? 11 : 12 } };
  const merged = (own) => ({ ...axis, ...own, ...(own && own.title ? { title: { ...own.title, font: { size: 12 } } } : {}) });
  return {
    ...layout,
    xaxis: merged(layout.xaxis),
    yaxis: merged(layout.yaxis),
    font: { color: color("--ink"), family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { align: "left", font: { size: 13 } },
    dragmode: false,
  };
}
function drawFigures() {
  for (const [name, figure] of Object.entries(page.figures)) {
    const plot = byId(`figure-${name}`);
    Plotly.react(plot, figure.data, themed(fitted(figure.layout, plot.clientWidth)), CONFIG);
  }
}
// Names of levels beside each other, and ticks that leave each other room: what finds none is left to the legend.
function fitted(layout, width) {
  const found = { ...layout }, wide = Math.max(120, width - 72), size = narrow.matches ? 11 : 12;
  if (layout.yaxis.range && (layout.annotations || []).length) {
    const [low, high] = layout.yaxis.range, tall = layout.height - layout.margin.t - layout.margin.b - 12;
    const room = new Room();
    found.annotations = layout.annotations.flatMap((one) => {
      const y = tall * (high - one.y) / (high - low), w = wordWidth(one.text, 11) + 8;
      if (y < 0 || y > tall) return [];
      const sides = [[one.x, one.xanchor], [1, "right"], [0, "left"], [0.5, "center"]];
      const places = sides.flatMap(([x, xanchor]) => [one.yanchor, "bottom", "top"].map((yanchor) => ({ x, xanchor, yanchor })));
      const boxes = places.map(({ x, xanchor, yanchor }) => {
        const left = x * wide - w * { left: 0, center: 0.5, right: 1 }[xanchor];
        return [left, left + w, ...(yanchor === "bottom" ? [y - 17, y - 1] : [y + 1, y + 17])];
      });
      const at = room.find(boxes);
      return at === undefined ? [] : [{ ...one, ...places[at] }];
    });
  }
  const ticks = layout.xaxis.tickmode === "array" ? layout.xaxis.tickvals : [];
  if (ticks.length > 1 && ticks.every((one) => typeof one === "number")) {
    const low = Math.min(...ticks), reach = Math.max(...ticks) - low || 1, room = new Room();
    const kept = ticks.map((one, at) => at).filter((at) => {
      const x = 0.88 * wide * (ticks[at] - low) / reach, half = wordWidth(layout.xaxis.ticktext[at], size) / 2 + 3;
      return room.find([[x - half, x + half, 0, 1]]) !== undefined;
    });
    const pick = (list) => kept.map((at) => list[at]);
    found.xaxis = { ...layout.xaxis, tickvals: pick(ticks), ticktext: pick(layout.xaxis.ticktext), tickangle: 0 };
  }
  return found;
}

// ---- points by keyboard: a picture is one stop of the tabulator, arrows go from point to point, Enter opens one
function walk(plot, title, opened) {
  Object.assign(plot, { tabIndex: 0 });
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", `${title}: arrow keys go from point to point${opened ? ", Enter shows its texts" : ""}`);
  let at = -1;
  const points = () => plot.data.flatMap((trace, curveNumber) => trace.hoverinfo === "skip" ? [] : pointsOf(trace, curveNumber));
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const all = points();
    if (event.key === "Enter" && opened && all[at]) opened(all[at]);
    if (!(event.key in steps) || !all.length) return;
    event.preventDefault();
    const to = at + steps[event.key];
    at = Number.isFinite(to) ? (to + all.length) % all.length : to < 0 ? 0 : all.length - 1;
    Plotly.Fx.hover(plot, [{ curveNumber: all[at].curveNumber, pointNumber: all[at].pointNumber }]);
    byId("spoken").textContent = all[at].said;
  });
  plot.addEventListener("blur", () => Plotly.Fx.unhover(plot));
}
function pointsOf(trace, curveNumber) {
  const plain = (text) => String(text).replace(/<br>/g, ", ").replace(/<[^>]*>/g, "").replace(/&lt;/g, "<").replace(/&amp;/g, "&");
  if (trace.type === "heatmap")
    return trace.z.flatMap((row, y) => row.flatMap((value, x) => value === null ? []
      : [{ curveNumber, pointNumber: [y, x], said: plain(trace.customdata[y][x][0]), arm: trace.customdata[y][x][1] }]));
  const order = [...(trace.x || []).keys()].filter((one) => trace.x[one] !== null && (trace.y || [])[one] !== null);
  if (trace.type !== "bar") order.sort((a, b) => trace.x[a] - trace.x[b]);
  return order.map((pointNumber) => {
    const own = (trace.customdata || [])[pointNumber], known = typeof own === "number" ? page.arms[own] : undefined;
    const said = known ? plain(hover(known)) : `${Array.isArray(own) ? own[0] : trace.name || ""}: ${trace.x[pointNumber]}, ${trace.y[pointNumber]}`;
    return { curveNumber, pointNumber, said: plain(said), arm: known ? own : undefined };
  });
}
function hover(arm) {
  const lines = page.measures.filter((one) => arm.shown[one.name]).map((one) => {
    const [value, detail] = arm.shown[one.name];
    return `${escaped(one.heading)}: <b>${escaped(value)}</b>${detail ? ` (${escaped(detail)})` : ""}`;
  });
  return [`<b>${escaped(arm.label)}</b>`, ...lines].join("<br>");
}
