// Elements, numbers, marks. Text becomes only text nodes, since programs are hostile.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "css") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const integer = (value) => Math.round(value).toLocaleString("en");
const plural = (count, noun) => `${integer(count)} ${noun}${count === 1 ? "" : "s"}`;
const minus = (text) => text.replace("-", "−");

function percent(share, digits) {
  if (share === null || share === undefined) return "–";
  const small = Math.abs(share) > 0 && Math.abs(share) < 0.095;
  return minus(`${(100 * share).toFixed(digits ?? (small ? 1 : 0))}%`);
}

function figure(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "%") return percent(value);
  const size = Math.abs(value);
  let text;
  if (size === 0) text = "0";
  else if (size >= 1000) text = integer(value);
  else if (size >= 100) text = value.toFixed(0);
  else if (size >= 10) text = value.toFixed(1);
  else if (size >= 0.1) text = value.toFixed(2);
  else if (size >= 0.001) text = value.toFixed(size >= 0.01 ? 3 : 4);
  else text = value.toExponential(1);
  return minus(text) + (unit ? (unit.startsWith("/") ? unit : ` ${unit}`) : "");
}

/** A tick's value without the zeros that say nothing. */
function tickText(value, unit) {
  if (unit === "%") return `${Number((100 * value).toFixed(2))}%`;
  const size = Math.abs(value);
  if (size >= 10000) return minus(`${Number((value / 1000).toPrecision(3))}k`);
  return minus(size && size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(4))));
}

function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// ── what distinguishes two kinds besides their colour ──

// strokes over the colour; none: solid
const HATCHES = {
  passed: "", wrong_answer: "M-2 8L8 -2M0 14L14 0M4 14L14 4", runtime_error: "M-2 2L8 12M0 -4L14 10M4 -4L14 6",
  timeout: "M2.5 5a1 1 0 1 0 .01 0", output_limit: "M0 2.5H10M0 7.5H10", out_of_memory: "M0 5H10M5 0V10",
  compile_error: "M2.5 0V10M7.5 0V10",
  wait_for_rollouts: "M-2 8L8 -2M0 14L14 0M4 14L14 4", learner: "", checkpoint: "M0 2.5H10M0 7.5H10",
  publish: "M2.5 0V10M7.5 0V10", decoding: "", judging: "M0 2.5H10M0 7.5H10", pause: "M0 5H10M5 0V10", waiting: "M-2 2L8 12M0 -4L14 10M4 -4L14 6", other: "M2.5 5a1 1 0 1 0 .01 0",
};
for (const [key, path] of Object.entries(HATCHES)) {
  byId("patterns").append(svg("pattern", { id: `p-${key}`, width: 10, height: 10, patternUnits: "userSpaceOnUse", },
    svg("rect", { width: 10, height: 10, css: { fill: `var(--${key})` } }),
    path && svg("path", { d: path, css: { stroke: "var(--card)", "stroke-width": "1", opacity: ".5", fill: "none" } })));
}
const hatch = (key) => `url(#p-${key})`;
const swatch = (key) => svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("rect", { width: 20, height: 14, fill: hatch(key) }));

const GLYPHS = {
  passed: "M3.5 8.5l3 3 6-7", wrong_answer: "M4 4l8 8M12 4l-8 8", runtime_error: "M8 2.5L14 13.5H2zM8 6.5v3M8 11.2v.6",
  timeout: "M8 2a6 6 0 1 0 .01 0M8 4.5V8l2.5 1.6", output_limit: "M2.5 4h11M2.5 8h11M2.5 12h6", out_of_memory: "M3 3h10v10H3zM6.5 6.5h3v3h-3z",
  compile_error: "M8 2a6 6 0 1 0 .01 0M4 12L12 4",
};
const glyph = (outcome) => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" },
  svg("path", { d: GLYPHS[outcome] ?? "", css: { fill: "none", stroke: `var(--${outcome})`, "stroke-width": "1.7", "stroke-linecap": "round", "stroke-linejoin": "round" } }));
const outcomeLabel = Object.fromEntries(data.outcomes.map((outcome) => [outcome.key, outcome.label]));

// ── parts that several sections use ──

/** Draw into `holder` at its width, and again when the width changes. */
function responsive(holder, draw) {
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== drawn) draw((drawn = width));
  }).observe(holder);
}

/** A `<details>` whose table is made when it is opened. Cells: text, or [text, class]. */
function tableOnDemand(title, columns, makeRows) {
  const holder = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title });
  const details = el("details", { on: { toggle: () => { if (details.open && !holder.firstChild) holder.append(table(title, columns, makeRows())); } } },
    el("summary", {}, "As a table"), holder);
  return details;
}

function table(caption, columns, rows) {
  const head = columns.map((column, place) => el("th", { scope: "col", class: place === 0 ? "text" : null }, column));
  return el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, place) =>
      place === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell))))));
}

/** Buttons of which one is pressed. */
function segmented(group, key, act) {
  const buttons = [...group.querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      act(button.dataset[key]);
    });
  }
}

function niceTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const unit = [1, 2, 2.5, 5, 10].find((size) => size * power >= raw * 0.999) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / unit - 1e-9); tick * unit <= high + unit * 1e-6; tick += 1) ticks.push(Number((tick * unit).toPrecision(12)));
  return ticks;
}

/** Whole steps, a few of them, evenly. */
function stepTicks(first, last, count) {
  const ticks = first === last ? [first] : niceTicks(first, last, count).filter(Number.isInteger);
  return ticks.length ? ticks : [first, last];
}
