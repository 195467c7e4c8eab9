// ---- the grid: two varied numbers as a heat map, and all that was varied and measured as parallel coordinates
const GRID = page.grid, HEAT = { x: byId("heat-x"), y: byId("heat-y"), measure: byId("heat-measure"), rest: byId("heat-rest") };
const SCALE = [[0, "#4a8fd0"], [0.5, "#9a9da6"], [1, "#dba514"]]; // for colour-blind eyes, on white, on black, and under black words
const gridArms = GRID ? Object.keys(GRID.varied).map(Number) : [];
const inOrder = (values) => [...new Set(values)].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true })));
const told = (one) => (one === null ? "none" : typeof one === "object" ? JSON.stringify(one) : String(one));
// What else is varied of an arm than the two axes: cells of one map have all of it in common.
function others(at) {
  const free = Object.entries(GRID.varied[at]).filter(([name]) => name !== HEAT.x.value && name !== HEAT.y.value);
  return free.map(([name, one]) => `${GRID.axes[name] || name} ${told(one)}`).join(" · ");
}
function offerRests() {
  if (HEAT.x.value === HEAT.y.value) HEAT.y.value = Object.keys(GRID.axes).find((name) => name !== HEAT.x.value);
  const counts = new Map(), before = HEAT.rest.value;
  for (const at of gridArms) if (typeof GRID.varied[at][HEAT.x.value] === "number" && typeof GRID.varied[at][HEAT.y.value] === "number")
    counts.set(others(at), (counts.get(others(at)) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]).map(([rest]) => rest);
  HEAT.rest.replaceChildren(...sorted.map((rest) => Object.assign(made("option", "", rest || "nothing else varies"), { value: rest })));
  if (sorted.includes(before)) HEAT.rest.value = before;
  HEAT.rest.parentNode.hidden = sorted.length < 2;
}
function drawHeat() {
  const one = measure(HEAT.measure.value), mine = gridArms.filter((at) => others(at) === HEAT.rest.value);
  const xs = inOrder(mine.map((at) => GRID.varied[at][HEAT.x.value])), ys = inOrder(mine.map((at) => GRID.varied[at][HEAT.y.value]));
  const cell = (x, y) => mine.find((at) => GRID.varied[at][HEAT.x.value] === x && GRID.varied[at][HEAT.y.value] === y && page.arms[at].values[one.name]);
  const cells = ys.map((y) => xs.map((x) => cell(x, y)));
  const each = (of) => cells.map((row) => row.map((at) => (at === undefined ? null : of(at))));
  const plot = byId("heat"), size = narrow.matches ? 11 : 12;
  const fits = Math.max(...cells.flat().map((at) => (at === undefined ? 0 : wordWidth(page.arms[at].shown[one.name][0], size)))) + 6 < (plot.clientWidth - 120) / xs.length;
  const trace = {
    type: "heatmap", x: xs.map(told), y: ys.map(told), z: each((at) => value(at, one.name)), xgap: 2, ygap: 2,
    text: each((at) => escaped(page.arms[at].shown[one.name][0])), texttemplate: fits ? "%{text}" : "", textfont: { size, color: "#000000" },
    customdata: each((at) => [hover(page.arms[at]), at]), hovertemplate: "%{customdata[0]}<extra></extra>", hoverongaps: false,
    colorscale: SCALE, reversescale: one.way < 0, colorbar: { thickness: 10, outlinewidth: 0, tickfont: { size: 11 } },
  };
  const axis = (name) => ({ title: { text: escaped(GRID.axes[name]) }, type: "category", automargin: true, fixedrange: true, showgrid: false, tickangle: 0 });
  Plotly.react(plot, [trace], themed({ xaxis: axis(HEAT.x.value), yaxis: axis(HEAT.y.value), margin: { l: 48, r: 8, t: 8, b: 48 }, height: Math.max(240, 96 + 40 * ys.length) }), CONFIG);
}
function shade(share) {
  const up = SCALE.findIndex(([stop]) => stop >= share), [high, to] = SCALE[up], [low, from] = SCALE[Math.max(0, up - 1)];
  const part = high === low ? 0 : (share - low) / (high - low), byte = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
  return `rgb(${[1, 3, 5].map((at) => Math.round(byte(from, at) + part * (byte(to, at) - byte(from, at)))).join(",")})`;
}
// The axes: what was varied, then what was measured; each with its arms' places from 0 to 1 and the words on it.
function dimensions() {
  const varied = Object.keys(GRID.varied[gridArms[0]]).map((name) => {
    const all = inOrder(gridArms.map((at) => GRID.varied[at][name]).map((one) => (typeof one === "number" ? one : told(one))));
    const at = (arm) => all.indexOf(typeof GRID.varied[arm][name] === "number" ? GRID.varied[arm][name] : told(GRID.varied[arm][name]));
    return { title: GRID.axes[name] || name, place: (arm) => (all.length > 1 ? at(arm) / (all.length - 1) : 0.5), words: all.map((one, i) => [i / (all.length - 1 || 1), told(one)]) };
  });
  const measured = page.measures.filter((one) => gridArms.some((at) => page.arms[at].values[one.name])).map((one) => {
    const known = gridArms.filter((at) => page.arms[at].values[one.name]), all = known.map((at) => value(at, one.name));
    const low = Math.min(...all), reach = Math.max(...all) - low;
    const words = (end) => page.arms[known[all.indexOf(end)]].shown[one.name][0];
    return { title: one.heading, place: (arm) => (known.includes(arm) ? (reach ? (value(arm, one.name) - low) / reach : 0.5) : null), words: reach ? [[0, words(low)], [1, words(low + reach)]] : [[0.5, words(low)]] };
  });
  return [...varied, ...measured];
}
function drawParallel() {
  const dims = dimensions(), one = measure(HEAT.measure.value), plot = byId("parallel"), column = 112, height = 380;
  const known = gridArms.filter((at) => page.arms[at].values[one.name]), all = known.map((at) => value(at, one.name));
  const low = Math.min(...all), reach = Math.max(...all) - low || 1;
  const share = (at) => (one.way < 0 ? 1 - (value(at, one.name) - low) / reach : (value(at, one.name) - low) / reach);
  const lines = known.map((at) => ({
    type: "scatter", mode: "lines+markers", x: dims.map((_, place) => place), y: dims.map((dim) => dim.place(at)), customdata: dims.map(() => at),
    line: { color: shade(share(at)), width: 2 }, marker: { size: 5 }, opacity: visible.has(at) ? 0.85 : 0.06, connectgaps: true,
    hovertemplate: hover(page.arms[at]) + "<extra></extra>", name: page.arms[at].label,
  }));
  const words = dims.flatMap((dim, place) => {
    const room = new Room();
    return dim.words.flatMap(([y, text]) => {
      const h = (height - 120) * (1 - y);
      return room.find([[0, 1, h - 8, h + 8]]) === undefined ? [] : [{ text: escaped(cut(text, column - 24, 11)), x: place, y, xanchor: "left", xshift: 6, showarrow: false, font: { size: 11, color: color("--ink") }, bgcolor: color("--paper"), borderpad: 1 }];
    });
  });
  const layout = {
    xaxis: { tickvals: dims.map((_, place) => place), ticktext: dims.map((dim) => wrapped(dim.title, column - 12)), side: "top", tickangle: 0, range: [-0.3, dims.length - 0.3], fixedrange: true, zeroline: false, gridwidth: 2 },
    yaxis: { visible: false, range: [-0.06, 1.06], fixedrange: true }, annotations: words,
    margin: { l: 8, r: 8, t: 76, b: 16 }, height, width: Math.max(plot.parentNode.clientWidth, column * (dims.length + 0.5)), showlegend: false, hovermode: "closest",
  };
  const drawn = themed(layout);
  drawn.xaxis.tickfont = { size: 11, color: color("--soft") };
  Plotly.react(plot, lines, drawn, { ...CONFIG, responsive: false });
}
function cut(text, width, size) {
  let end = text.length;
  while (end > 1 && wordWidth(text.slice(0, end) + (end < text.length ? "…" : ""), size) > width) end--;
  return end < text.length ? `${text.slice(0, end)}…` : text;
}
function wrapped(text, width) {
  const lines = [];
  for (const word of text.split(/(?<=[ ._])/)) {
    const last = lines.at(-1);
    if (last !== undefined && wordWidth(last + word, 11) <= width) lines[lines.length - 1] = last + word;
    else lines.push(word);
  }
  return lines.slice(0, 4).map((line) => escaped(cut(line, width, 11))).join("<br>");
}
function drawGrid() {
  if (!GRID) return;
  drawHeat();
  drawParallel();
}
function offerGrid() {
  if (!GRID) return;
  const names = Object.keys(GRID.axes);
  HEAT.y.value = names[1];
  const again = () => { offerRests(); drawGrid(); };
  keep(HEAT.x, "heat-x", again);
  keep(HEAT.y, "heat-y", again);
  keep(HEAT.measure, "heat", drawGrid);
  offerRests();
  keep(HEAT.rest, "heat-rest", drawGrid);
}
