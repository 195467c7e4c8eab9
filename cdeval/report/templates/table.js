// ---- the table
const table = byId("results");
const rows = [...table.querySelectorAll("tbody tr")];
const headers = [...table.querySelectorAll("thead th[data-name]")];
const usualColumns = headers.filter((one) => !one.hidden).map((one) => one.dataset.name).join(" ");
const rowOf = (at) => rows.find((row) => Number(row.dataset.arm) === at);
function mark(front, x, y) {
  for (const row of rows) {
    const at = Number(row.dataset.arm), arm = page.arms[at];
    const judged = front.size && arm.role !== "human" && arm.values[x.name] && arm.values[y.name];
    row.classList.toggle("front", Boolean(judged && front.has(at)));
    row.querySelector(".place").textContent = judged ? (front.has(at) ? "◆ on this front" : "behind it") : "–";
  }
}
function sortBy(header, way) {
  const column = header.cellIndex, up = way === "ascending";
  for (const other of headers) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", way);
  const key = (row) => row.cells[column].dataset.value;
  const missing = (one) => one === undefined || one === "";
  rows.sort((a, b) => {
    const [one, two] = [key(a), key(b)];
    if (missing(one) || missing(two)) return missing(one) - missing(two); // what has no value stands last, either way
    const order = column ? Number(one) - Number(two) : one.localeCompare(two, undefined, { numeric: true });
    return up ? order : -order;
  });
  rows[0].parentNode.append(...rows);
}
function turn(header) {
  const now = header.getAttribute("aria-sort");
  const way = now === "none" ? header.dataset.first : now === "ascending" ? "descending" : "ascending";
  sortBy(header, way);
  remember("sort", `${header.dataset.name} ${way}`);
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
  drawGrid();
}
// Which columns are shown: the first one, the arms' names, always is.
function showColumns(names) {
  for (const header of headers.slice(1)) {
    header.hidden = !names.includes(header.dataset.name);
    for (const row of rows) row.cells[header.cellIndex].hidden = header.hidden;
    byId("columns").querySelector(`input[value="${header.dataset.name}"]`).checked = !header.hidden;
  }
}
function offerColumns() {
  for (const header of headers.slice(1)) {
    const label = made("label"), box = made("input");
    Object.assign(box, { type: "checkbox", value: header.dataset.name, checked: !header.hidden });
    box.addEventListener("change", () => {
      const chosen = headers.filter((one) => (one === header ? box.checked : !one.hidden)).map((one) => one.dataset.name);
      showColumns(chosen);
      remember("columns", chosen.join(" "), usualColumns);
    });
    label.append(box, ` ${header.textContent.trim()}`);
    byId("columns").append(label);
  }
}
// What the address says of the table; a column or an order that this study lacks is passed over.
function recallTable() {
  const columns = address.chosen.get("columns"), [name, way] = (address.chosen.get("sort") || "").split(" ");
  if (columns !== null) showColumns(columns.split(" "));
  const header = headers.find((one) => one.dataset.name === name);
  if (header && (way === "ascending" || way === "descending")) sortBy(header, way);
  byId("filter").value = address.chosen.get("filter") || "";
}
function linkTable() {
  for (const header of headers) header.querySelector("button").addEventListener("click", () => turn(header));
  byId("filter").addEventListener("input", () => { remember("filter", byId("filter").value, ""); filterRows(); });
  if (!X) return;
  const plot = byId("pareto");
  const point = (at, on) => rowOf(at) && rowOf(at).classList.toggle("pointed", on);
  const nobody = () => rows.forEach((row) => row.classList.remove("pointed"));
  plot.on("plotly_hover", (event) => { nobody(); event.points.forEach((one) => point(one.customdata, true)); });
  plot.on("plotly_unhover", nobody);
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
