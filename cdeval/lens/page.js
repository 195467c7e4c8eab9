"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const select = document.getElementById("measure");
const dark = matchMedia("(prefers-color-scheme: dark)");
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = (own) => ({ ...own, gridcolor: line, linecolor: soft, tickfont: { color: soft } });
  return {
    ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis), dragmode: false,
    font: { color: ink, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  };
}
function draw() {
  for (const [place, figure] of [["heat", page.heat[select.value]], ["bars", page.bars]])
    Plotly.react(place, figure.data, themed(figure.layout), { displayModeBar: false, responsive: true });
}
select.addEventListener("change", draw);
dark.addEventListener("change", draw);
draw();
document.documentElement.dataset.drawn = "true";
