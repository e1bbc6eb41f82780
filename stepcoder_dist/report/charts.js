// Line charts and stacked bars over the steps. All share one cursor, the step whose values are shown.
const steps = data.steps;
const cursor = { index: null, followers: [] };

function pointAt(index) {
  cursor.index = index;
  for (const follow of cursor.followers) follow(index);
}

/** Makes an SVG read out steps: by pointer, by touch, by arrow keys. */
function readsSteps(node, label, indexAt, say) {
  const at = () => cursor.index ?? steps.length - 1;
  const attributes = { tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": steps[0], "aria-valuemax": steps.at(-1), "aria-orientation": "horizontal" };
  fill(node, attributes, []);
  const speak = () => { node.setAttribute("aria-valuenow", steps[at()]); node.setAttribute("aria-valuetext", say(at())); };
  const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  node.addEventListener("pointermove", (event) => pointAt(indexAt(event.clientX - node.getBoundingClientRect().left)));
  node.addEventListener("pointerdown", (event) => pointAt(indexAt(event.clientX - node.getBoundingClientRect().left)));
  node.addEventListener("pointerleave", () => { if (document.activeElement !== node) pointAt(null); });
  node.addEventListener("focus", () => { if (node.matches(":focus-visible")) pointAt(at()); speak(); });
  node.addEventListener("blur", () => pointAt(null));
  node.addEventListener("keydown", (event) => {
    if (!(event.key in moves)) return;
    event.preventDefault();
    pointAt(clamp(at() + moves[event.key], 0, steps.length - 1));
    speak();
  });
  speak();
}

function movingAverage(values) {
  const reach = Math.max(1, Math.round(values.length / 24));
  return values.map((_, place) => {
    const near = values.slice(Math.max(0, place - reach), place + reach + 1).filter((value) => value !== null);
    return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
  });
}

/** `joined`: over the steps without a value. */
function pathOf(values, x, y, joined) {
  let path = "";
  let pen = "M";
  values.forEach((value, place) => {
    if (value === null) { if (!joined) pen = "M"; return; }
    path += `${pen}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  return path;
}

/** At every step the last value up to it. */
function carried(values) {
  let last = null;
  return values.map((value) => (last = value ?? last));
}

function yRange(series, unit) {
  const values = series.flat().filter((value) => value !== null);
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (unit === "%" && low >= 0 && high <= 1) { low = Math.min(low, low < 0.5 ? 0 : low); high = high > 0.5 ? Math.max(high, 1) : high; }
  if (low === high) { const pad = Math.abs(low) * 0.5 || 1; low -= low === 0 ? 0 : pad; high += pad; }
  const room = (high - low) * 0.06;
  return [low === 0 || (unit === "%" && low >= 0) ? low : low - room, unit === "%" && high === 1 ? 1 : high + room];
}

const SHORT = { p50: "median", p95: "95th percentile" };
function shortName(name) {
  const last = name.includes("/") ? name.split("/").at(-1) : "all";
  return SHORT[last] ?? last.replaceAll("_", " ");
}
const redraws = [];

function lineChart(chart) {
  const series = chart.names.map((name) => data.columns[name]);
  const told = chart.sparse ? series.map(carried) : series;
  const value = el("span", { class: "value" });
  const holder = el("div");
  const legend = chart.names.length > 1 && el("ul", { class: "legend" }, chart.names.map((name, place) => el("li", {},
    svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("path", { d: "M0 7H20", class: `line c${place % 4} d${place % 4}` })), shortName(name))));
  const say = (index) => `step ${steps[index]}: ` + chart.names.map((name, place) =>
    `${chart.names.length > 1 ? `${shortName(name)} ` : ""}${figure(told[place][index], chart.unit)}`).join(", ");

  function draw(width) {
    const height = 132, left = 44, right = 10, top = 8, bottom = 20;
    const [low, high] = yRange(series, chart.unit);
    const x = (index) => left + (steps.length < 2 ? (width - left - right) / 2
      : (steps[index] - steps[0]) / (steps.at(-1) - steps[0]) * (width - left - right));
    const y = (v) => top + (1 - (v - low) / (high - low)) * (height - top - bottom);
    const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    for (const tick of niceTicks(low, high, 3)) {
      node.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
        svg("text", { x: left - 7, y: y(tick) + 3.5, "text-anchor": "end" }, tickText(tick, chart.unit)));
    }
    for (const tick of stepTicks(steps[0], steps.at(-1), Math.max(2, width / 80))) {
      const place = left + (steps.length < 2 ? (width - left - right) / 2 : (tick - steps[0]) / (steps.at(-1) - steps[0]) * (width - left - right));
      node.append(svg("text", { x: place, y: height - 4, "text-anchor": "middle" }, integer(tick)));
    }
    const smooth = !chart.sparse && byId("smooth").checked;
    series.forEach((values, place) => {
      const style = `line c${place % 4}`;
      if (smooth) node.append(svg("path", { class: `${style} raw`, d: pathOf(values, x, y) }));
      node.append(svg("path", { class: `${style} d${place % 4}`, d: pathOf(smooth ? movingAverage(values) : values, x, y, chart.sparse) }));
      if (chart.sparse || values.filter((v) => v !== null).length === 1) values.forEach((v, index) => { if (v !== null) node.append(svg("circle", { class: `dot c${place % 4}`, r: chart.sparse ? 2.6 : 4, cx: x(index), cy: y(v) })); });
    });
    const cross = svg("g");
    node.append(cross);
    follow = (index) => {
      const shown = index ?? steps.length - 1;
      value.textContent = index === null ? figure(told[0][shown], chart.unit) : `${integer(steps[shown])}: ${figure(told[0][shown], chart.unit)}`;
      cross.replaceChildren();
      if (index === null) return;
      cross.append(svg("line", { class: "cross", x1: x(index), x2: x(index), y1: top, y2: height - bottom }));
      series.forEach((values, place) => { if (values[index] !== null) cross.append(svg("circle", { class: `dot c${place % 4}`, r: 3.6, cx: x(index), cy: y(values[index]) })); });
    };
    readsSteps(node, chart.title, (place) => nearest((place - left) / (width - left - right)), say);
    const focused = holder.contains(document.activeElement);
    holder.replaceChildren(node);
    if (focused) node.focus();
    follow(cursor.index);
  }
  let follow = () => {};
  let drawnAt = 0;
  cursor.followers.push((index) => follow(index));
  redraws.push(() => { if (drawnAt) draw(drawnAt); });
  responsive(holder, (width) => draw((drawnAt = width)));
  return el("div", { class: "chart" }, el("p", { class: "name" }, el("span", {}, chart.title), value),
    el("p", { class: "meaning" }, chart.meaning), holder, legend);
}

/** The index of the step at a share of the x axis. */
function nearest(share) {
  const wanted = steps[0] + clamp(share, 0, 1) * (steps.at(-1) - steps[0]);
  let low = 0;
  while (low + 1 < steps.length && Math.abs(steps[low + 1] - wanted) <= Math.abs(steps[low] - wanted)) low += 1;
  return low;
}

/** parts: [{key, label, values}]; unit "%" stacks shares to 1. */
function stackedChart(title, parts, unit) {
  const shown = parts.filter((part) => part.values.some((v) => v));
  const readout = el("p", { class: "readout" });
  const holder = el("div");
  const say = (index) => `step ${integer(steps[index])}: ` + shown.filter((part) => part.values[index])
    .map((part) => `${part.label} ${figure(part.values[index], unit)}`).join(", ");
  let follow = () => {};
  cursor.followers.push((index) => follow(index));
  responsive(holder, (width) => {
    const height = 230, left = 44, right = 6, top = 8, bottom = 22;
    const totals = steps.map((_, index) => shown.reduce((sum, part) => sum + (part.values[index] ?? 0), 0));
    const high = unit === "%" ? 1 : Math.max(...totals) || 1;
    const band = (width - left - right) / steps.length;
    const gap = band > 7 ? Math.min(3, band * 0.18) : 0;
    const y = (v) => top + (1 - v / high) * (height - top - bottom);
    const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    for (const tick of niceTicks(0, high, 4)) {
      node.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
        svg("text", { x: left - 7, y: y(tick) + 3.5, "text-anchor": "end" }, tickText(tick, unit)));
    }
    steps.forEach((_, index) => {
      let base = 0;
      for (const part of shown) {
        const v = part.values[index] ?? 0;
        if (v <= 0) continue;
        node.append(svg("rect", { x: left + index * band + gap / 2, width: Math.max(band - gap, 0.6), y: y(base + v), height: y(base) - y(base + v), fill: hatch(part.key) }));
        base += v;
      }
    });
    const every = Math.max(1, Math.ceil(steps.length / Math.max(2, width / 60)));
    steps.forEach((step, index) => {
      if (index % every === 0) node.append(svg("text", { x: left + (index + 0.5) * band, y: height - 5, "text-anchor": "middle" }, integer(step)));
    });
    const mark = svg("rect", { class: "cursor", visibility: "hidden", y: top - 1, height: height - top - bottom + 2, width: Math.max(band - gap + 2, 3) });
    node.append(mark);
    follow = (index) => {
      const at = index ?? steps.length - 1;
      readout.textContent = say(at);
      mark.setAttribute("visibility", index === null ? "hidden" : "visible");
      mark.setAttribute("x", left + at * band + gap / 2 - 1);
    };
    readsSteps(node, title, (place) => clamp(Math.floor((place - left) / band), 0, steps.length - 1), say);
    holder.replaceChildren(node);
    follow(cursor.index);
  });
  return el("div", { class: "chart wide" }, readout, holder,
    el("ul", { class: "legend" }, shown.map((part) => el("li", { title: part.meaning }, swatch(part.key), part.label))),
    tableOnDemand(title, ["step", ...shown.map((part) => part.label)],
      () => steps.map((step, index) => [integer(step), ...shown.map((part) => figure(part.values[index] ?? 0, unit))])));
}

/** A figure that never changes is said in a line, not drawn. */
const isStill = ({ names, sparse }) => !sparse && steps.length > 2 && names.every((name) => new Set(data.columns[name].filter((v) => v !== null)).size < 2);

function drawCurves() {
  byId("smooth").checked = steps.length >= 16;
  byId("smooth").addEventListener("change", () => redraws.forEach((redraw) => redraw()));
  if (data.bin > 1) byId("bin-note").textContent = ` (the mean over ${data.bin} steps, up to the one named: the run is long)`;
  for (const group of data.groups) {
    const names = group.charts.flatMap((chart) => chart.names.map((name) => [name, chart.unit]));
    const still = group.charts.filter((chart) => isStill(chart));
    const moving = group.charts.filter((chart) => !still.includes(chart));
    byId("curve-groups").append(el("div", { class: "group" }, el("h3", {}, group.title),
      el("div", { class: "multiples" }, moving.map(lineChart)),
      still.length > 0 && el("p", { class: "constant" }, "The same at every step: ", still.map((chart, place) => [place ? ", " : "",
        `${chart.title.toLowerCase()} `, el("b", { title: chart.meaning }, figure(data.columns[chart.names[0]].find((v) => v !== null), chart.unit))]).flat(), "."),
      tableOnDemand(`${group.title}, by step`, ["step", ...names.map(([name]) => name)],
        () => steps.map((step, index) => [integer(step), ...names.map(([name, unit]) => figure(data.columns[name][index], unit))]))));
  }
}

function drawOutcomes() {
  const counts = data.outcomes.map((outcome) => data.columns[`outcomes/${outcome.key}`] ?? steps.map(() => 0));
  const total = steps.map((_, index) => counts.reduce((sum, values) => sum + (values[index] ?? 0), 0) || 1);
  byId("outcome-chart").append(stackedChart("Outcomes by step", data.outcomes.map((outcome, place) =>
    ({ ...outcome, values: steps.map((_, index) => (counts[place][index] ?? 0) / total[index]) })), "%"));
}

function drawPhases() {
  const zero = steps.map(() => 0);
  const step = data.columns.step_s ?? zero;
  const known = data.phases.map((phase) => ({ ...phase, values: data.columns[`seconds/${phase.key}`] ?? zero }));
  const other = step.map((v, index) => Math.max(0, (v ?? 0) - known.reduce((sum, phase) => sum + (phase.values[index] ?? 0), 0)));
  const inSeconds = [...known, { key: "other", label: "other", meaning: "the rest of the step", values: other.map((v, index) => (v < 0.005 * step[index] ? 0 : v)) }];
  const inShares = inSeconds.map((phase) => ({ ...phase, values: phase.values.map((v, index) => (v ?? 0) / (step[index] || 1)) }));
  const show = (unit) => byId("phase-chart").replaceChildren(unit === "share"
    ? stackedChart("Share of each step by phase", inShares, "%") : stackedChart("Seconds of each step by phase", inSeconds, "s"));
  segmented(byId("phase-unit"), "unit", show);
  show("seconds");
}
