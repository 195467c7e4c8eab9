"use strict";
const { sheet, pairs } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const choices = [...document.querySelectorAll("[data-vote]")];
const store = `cdeval-votes-${sheet}`;
let state = { rater: "", position: 0, votes: {} };

try {
  const kept = JSON.parse(localStorage.getItem(store));
  if (kept && kept.votes) state = { ...state, ...kept };
} catch {
  at("message").textContent = "This browser keeps nothing between visits: save the votes before you leave.";
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify(state));
  } catch {
    at("message").textContent = "This browser keeps nothing between visits: save the votes before you leave.";
  }
}

function show() {
  state.position = Math.min(Math.max(state.position, 0), pairs.length - 1);
  const pair = pairs[state.position];
  for (const part of ["prompt", "left", "right"]) {
    at(part).textContent = pair[part].trim() === "" ? "(empty)" : pair[part];
  }
  for (const choice of choices) {
    choice.setAttribute("aria-pressed", String(state.votes[pair.code] === choice.dataset.vote));
  }
  const done = pairs.filter(({ code }) => code in state.votes).length;
  at("progress").textContent = `Pair ${state.position + 1} of ${pairs.length}, ${done} judged`;
  at("back").disabled = state.position === 0;
  at("next").disabled = state.position === pairs.length - 1;
}

function move(by) {
  state.position += by;
  keep();
  show();
  window.scrollTo(0, 0);
}

function vote(side) {
  state.votes[pairs[state.position].code] = side;
  const last = state.position === pairs.length - 1;
  if (last) at("message").textContent = "That was the last pair: save the votes as a file.";
  move(last ? 0 : 1);
}

function save() {
  if (!state.rater.trim()) {
    at("message").textContent = "Please fill in your name or initials first.";
    at("rater").focus();
    return;
  }
  const content = JSON.stringify({ sheet, rater: state.rater.trim(), votes: state.votes }, null, 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = `votes-${state.rater.trim().replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
  at("message").textContent = `Saved as ${link.download}.`;
}

at("rater").value = state.rater;
at("rater").addEventListener("input", (event) => {
  state.rater = event.target.value;
  keep();
});
for (const choice of choices) choice.addEventListener("click", () => vote(choice.dataset.vote));
at("back").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const sides = { 1: "left", 2: "tie", 3: "right" };
  if (event.key in sides) vote(sides[event.key]);
  else if (event.key === "b" && state.position > 0) move(-1);
  else if (event.key === "n" && state.position < pairs.length - 1) move(1);
  else if (event.key === "s") save();
  else return;
  event.preventDefault();
});
show();
