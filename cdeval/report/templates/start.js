// ---- the beginning: what the address keeps is recalled before anything is drawn
if (X) {
  keep(Y, "up", drawPareto);
  keep(X, "across", drawPareto);
}
offerGrid();
offerColumns();
recallTable();
drawFigures();
filterRows();
linkTable();
if (page.texts.length) linkTexts();
for (const [name, figure] of Object.entries(page.figures)) {
  const plot = byId(`figure-${name}`);
  walk(plot, plot.parentNode.querySelector("h3").textContent);
}
if (X) walk(byId("pareto"), "Quality and cost", (point) => show(point.arm));
if (GRID) {
  walk(byId("heat"), "Heat map", (point) => show(point.arm));
  walk(byId("parallel"), "Parallel coordinates", (point) => show(point.arm));
  byId("heat").on("plotly_click", (event) => show(event.points[0].customdata[1]));
  byId("parallel").on("plotly_click", (event) => show(event.points[0].customdata));
}
if (address.section && byId(address.section)) byId(address.section).scrollIntoView();
const drawAll = () => { drawFigures(); drawPareto(); drawGrid(); };
for (const one of [dark, narrow]) one.addEventListener("change", drawAll);
// Names are placed for one width.
let width = innerWidth, later;
addEventListener("resize", () => {
  clearTimeout(later);
  if (innerWidth !== width) later = setTimeout(() => { width = innerWidth; drawAll(); }, 150);
});
// Paper is narrower than the screen, and white.
for (const moment of ["beforeprint", "afterprint"])
  addEventListener(moment, () => { for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(plot); });
document.documentElement.dataset.drawn = "true";
