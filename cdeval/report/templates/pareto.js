// ---- quality against cost
const X = byId("x-axis"), Y = byId("y-axis");
const HUMAN = "#009988";
const value = (at, name) => page.arms[at].values[name][0];
const ends = (at, name) => page.arms[at].values[name].filter((one) => one !== null);
function drawPareto() {
  if (!X) return;
  const x = measure(X.value), y = measure(Y.value), plot = byId("pareto");
  const front = new Set(page.fronts[`${x.name} ${y.name}`] || []);
  const known = [...page.arms.keys()].filter((at) => !isHuman(at) && page.arms[at].values[x.name] && page.arms[at].values[y.name]);
  const people = [...page.arms.keys()].filter((at) => isHuman(at) && page.arms[at].values[y.name]);
  const xs = span(known.flatMap((at) => ends(at, x.name)), []), ys = span(known.flatMap((at) => ends(at, y.name)), people.map((at) => value(at, y.name)));
  const levels = people.filter((at) => value(at, y.name) > ys[0] && value(at, y.name) < ys[1]);
  const size = narrow.matches ? 10 : 12, height = narrow.matches ? 380 : 460;
  const draw = () => {
    const room = plot._fullLayout ? plot._fullLayout._size : { w: plot.clientWidth - 80, h: height - 64 };
    const px = (at) => room.w * (value(at, x.name) - xs[0]) / (xs[1] - xs[0]), py = (number) => room.h * (ys[1] - number) / (ys[1] - ys[0]);
    const words = new Room(), strokes = new Room();
    strokes.take(...levels.map((at) => [0, room.w, py(value(at, y.name)) - 1, py(value(at, y.name)) + 1]));
    words.take(...known.map((at) => [px(at) - 7, px(at) + 7, py(value(at, y.name)) - 7, py(value(at, y.name)) + 7]));
    const human = levels.flatMap((at) => {
      const wide = wordWidth(page.arms[at].label, 12) + 6, h = py(value(at, y.name));
      const boxes = [[room.w - wide, room.w, h - 18, h], [room.w - wide, room.w, h, h + 18], [0, wide, h - 18, h], [0, wide, h, h + 18]];
      const side = words.find(boxes);
      return side === undefined ? [] : [{ text: escaped(page.arms[at].label), showarrow: false, xref: "paper", x: side < 2 ? 1 : 0, xanchor: side < 2 ? "right" : "left", y: value(at, y.name), yanchor: side % 2 ? "top" : "bottom", font: { color: HUMAN, size: 12 } }];
    });
    const named = names(known, front, px, (at) => py(value(at, y.name)), { words, strokes, ...room }, size);
    const layout = {
      xaxis: { title: { text: escaped(x.heading) }, automargin: true, fixedrange: true, zeroline: false, range: xs },
      yaxis: { title: { text: escaped(y.heading) }, automargin: true, fixedrange: true, zeroline: false, range: ys },
      margin: { l: 52, r: 16, t: 16, b: 48 }, height, showlegend: false, hovermode: "closest",
      shapes: levels.map((at) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value(at, y.name), y1: value(at, y.name), line: { color: HUMAN, width: 1.5, dash: "dot" } })),
      annotations: human,
    };
    Plotly.react(plot, traces(known, front, x.name, y.name, named, size), themed(layout), CONFIG);
    return Math.abs(plot._fullLayout._size.w - room.w) + Math.abs(plot._fullLayout._size.h - room.h) < 2;
  };
  if (!draw()) draw(); // what names have room for is known once the axes' labels have taken theirs
  mark(front, x, y);
}
// The ends of an axis, with room around; a level far off the points would flatten them.
function span(own, levels) {
  if (!own.length) return [0, 1];
  const low = Math.min(...own), high = Math.max(...own), reach = high - low || Math.abs(low) || 1;
  const near = [...own, ...levels.filter((one) => one > low - reach && one < high + reach)];
  const margin = 0.07 * (Math.max(...near) - Math.min(...near) || reach);
  return [Math.min(...near) - margin, Math.max(...near) + margin];
}
function traces(known, front, xName, yName, named, size) {
  const found = [], line = known.filter((at) => front.has(at)).sort((a, b) => value(a, xName) - value(b, xName));
  if (line.length > 1)
    found.push({
      x: line.map((at) => value(at, xName)), y: line.map((at) => value(at, yName)),
      mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: "#888888", width: 1.5, dash: "dot" },
    });
  for (const [kind, [paint, symbol]] of Object.entries(page.styles)) {
    const mine = known.filter((at) => page.arms[at].kind === kind);
    if (!mine.length) continue;
    const width = (name, end) => mine.map((at) => {
      const [middle, low, high] = page.arms[at].values[name];
      return low === null ? 0 : Math.max(0, end > 0 ? high - middle : middle - low);
    });
    const bars = (name) => ({ type: "data", symmetric: false, array: width(name, 1), arrayminus: width(name, -1), color: paint, thickness: 1, width: 0 });
    found.push({
      x: mine.map((at) => value(at, xName)), y: mine.map((at) => value(at, yName)),
      error_y: bars(yName), error_x: bars(xName),
      mode: "markers+text", name: kind, customdata: mine,
      text: mine.map((at) => (named.has(at) ? escaped(page.arms[at].short) : "")),
      textposition: mine.map((at) => named.get(at) || "middle right"), textfont: { size }, cliponaxis: false,
      hovertemplate: mine.map((at) => hover(page.arms[at]) + "<extra></extra>"),
      marker: {
        color: paint, symbol, size: mine.map((at) => (front.has(at) ? 13 : 10)),
        opacity: mine.map((at) => (visible.has(at) ? 1 : 0.15)),
        line: { width: mine.map((at) => (front.has(at) ? 2 : 0)), color: color("--ink") },
      },
    });
  }
  return found;
}
// Where each name stands beside its point: controls, the verdict's arm and the front choose first, and none lies on
// another, on a point or beyond the picture, nor on a level where there is a choice. The others' names show under the mouse.
function names(known, front, px, py, room, size) {
  const rank = (at) => (page.arms[at].role === "control" || page.first.includes(at) ? 0 : front.has(at) ? 1 : 2), found = new Map();
  for (const at of [...known].sort((a, b) => rank(a) - rank(b))) {
    const wide = wordWidth(page.arms[at].short, size) + 4, x = px(at), y = py(at), tall = size * 0.75;
    const places = {
      "middle right": [x + 8, x + 12 + wide, y - tall, y + tall], "middle left": [x - 12 - wide, x - 8, y - tall, y + tall],
    };
    const rows = { top: [y - 8 - 2 * tall, y - 7], bottom: [y + 7, y + 8 + 2 * tall] };
    for (const [row, [from, to]] of Object.entries(rows)) {
      places[`${row} center`] = [x - wide / 2, x + wide / 2, from, to];
      places[`${row} left`] = [x - wide - 8, x, from, to];
      places[`${row} right`] = [x, x + wide + 8, from, to];
    }
    const inside = Object.keys(places).filter((one) => {
      const [left, right, top, bottom] = places[one];
      return left >= 0 && right <= room.w && top >= 0 && bottom <= room.h;
    });
    const clear = inside.filter((one) => room.strokes.free(places[one])), choice = [...clear, ...inside];
    const chosen = room.words.find(choice.map((one) => places[one]));
    if (chosen !== undefined) found.set(at, choice[chosen]);
  }
  return found;
}
