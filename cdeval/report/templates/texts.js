// ---- texts side by side
const chosen = new Set(page.first);
const ORDER = { by: byId("order-by"), arm: byId("order-arm"), way: byId("order-way") };
let found = [...page.texts.keys()], current = 0, query = "";
function search() {
  query = byId("search").value.trim().toLowerCase();
  const fits = (one) => !query || [one.prompt, ...one.texts.map((own) => own.text)].some((text) => text.toLowerCase().includes(query));
  found = ordered([...page.texts.keys()].filter((at) => fits(page.texts[at])));
  current = 0;
  showTexts();
}
// The prompts by a score of one arm's texts; those without one stand last, either way.
function ordered(places) {
  if (!ORDER.by.value) return places;
  const arm = Number(ORDER.arm.value), way = ORDER.way.value === "highest" ? -1 : 1;
  const scores = new Map(places.map((at) => {
    const own = page.texts[at].texts.find((one) => one.arm === arm && ORDER.by.value in one.scores);
    return [at, own && own.scores[ORDER.by.value]];
  }));
  return places.sort((a, b) => {
    const [one, two] = [scores.get(a), scores.get(b)];
    if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
    return way * (one - two) || a - b;
  });
}
function step(by) {
  if (found.length) current = (current + by + found.length) % found.length;
  showTexts();
}
function show(at) {
  if (!page.texts.length) return;
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
  for (const own of one.texts) {
    if (!chosen.has(own.arm)) continue;
    const node = card(page.arms[own.arm].label + (own.sample ? `, sample ${own.sample + 1}` : ""), own.text, own.repeats, "card");
    const scores = page.measures.filter((each) => each.name in own.scores).map((each) => `${each.title} ${Number(own.scores[each.name].toPrecision(3))}`);
    if (scores.length) node.append(made("p", "scores", scores.join(" · ")));
    if (own.trace) node.append(Object.assign(made("a", "", "Its trace, token by token"), { href: own.trace }));
    else if (own.command) node.append(command(`python -m cdeval.trace ${own.command} ${page.arms[own.arm].settings}`.trim()));
    cards.append(node);
  }
}
function command(line) {
  const node = made("details", "command"), code = made("code", "", line), button = made("button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code); // to be copied by hand where the browser lets no page do it
    try { await navigator.clipboard.writeText(line); button.textContent = "Copied"; } catch { button.textContent = "Selected"; }
  });
  node.append(made("summary", "", "How to trace it"), code, " ", button);
  return node;
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
function offerOrders() {
  const scored = new Map(); // arms by measure
  for (const prompt of page.texts) for (const own of prompt.texts) for (const name of Object.keys(own.scores))
    scored.set(name, (scored.get(name) || new Set()).add(own.arm));
  const option = (value, text) => Object.assign(made("option", "", text), { value });
  ORDER.by.append(...page.measures.filter((one) => scored.has(one.name)).map((one) => option(one.name, one.title)));
  const arms = [...page.arms.keys()].filter((at) => [...scored.values()].some((known) => known.has(at)));
  ORDER.arm.append(...arms.map((at) => option(at, page.arms[at].label)));
  const first = page.first.find((at) => arms.includes(at) && !isHuman(at));
  if (first !== undefined) ORDER.arm.value = first;
  byId("orders").hidden = !scored.size;
  const again = () => {
    for (const select of [ORDER.arm, ORDER.way]) select.parentNode.hidden = !ORDER.by.value;
    if (ORDER.by.value && !isHuman(Number(ORDER.arm.value))) show(Number(ORDER.arm.value));
    search();
  };
  for (const [name, select] of Object.entries(ORDER)) keep(select, `order-${name}`, again);
  for (const select of [ORDER.arm, ORDER.way]) select.parentNode.hidden = !ORDER.by.value;
}
function linkTexts() {
  const home = byId("chips");
  page.arms.forEach((arm, at) => {
    const label = made("label"), box = made("input");
    Object.assign(box, { type: "checkbox", value: at, checked: chosen.has(at) });
    box.addEventListener("change", () => { chosen[box.checked ? "add" : "delete"](at); showTexts(); });
    label.append(box, ` ${arm.label}`);
    home.append(label);
  });
  offerOrders();
  byId("search").addEventListener("input", search);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  search();
}
