// Held-out scores: a row for each level and evaluation, intervals on one common scale.
function whisker(score, place) {
  const x = (share) => 4 + 100 * share;
  const node = svg("svg", { class: "whisker", viewBox: "0 0 108 14", role: "img", preserveAspectRatio: "none",
    "aria-label": `${percent(score.pass_at["1"])}, interval ${percent(score.interval[0])} to ${percent(score.interval[1])}` });
  node.append(svg("line", { class: "grid", x1: 4, x2: 104, y1: 7, y2: 7 }));
  for (const share of [0, 0.5, 1]) node.append(svg("line", { class: "grid", x1: x(share), x2: x(share), y1: 2, y2: 12 }));
  node.append(svg("line", { class: `line c${place % 4}`, x1: x(score.interval[0]), x2: x(score.interval[1]), y1: 7, y2: 7, "stroke-width": 3 }),
    svg("rect", { class: `dot c${place % 4}`, x: x(score.pass_at["1"]) - 1.2, width: 2.4, y: 2, height: 10 }));
  return node;
}

function drawHeldout() {
  const { labels, rows, gains } = data.heldout;
  if (!rows.length) return;
  byId("heldout").hidden = false;
  const ks = [...new Set(rows.flatMap((row) => Object.keys(row.pass_at)))].sort((a, b) => a - b);
  const failures = data.outcomes.filter((outcome) => outcome.key !== "passed" && rows.some((row) => row.outcomes[outcome.key]));
  const text = (content) => el("th", { scope: "col", class: "text" }, content);
  const number = (content) => el("th", { scope: "col" }, content);
  const body = rows.map((row, index) => {
    const first = index === 0 || rows[index - 1].level !== row.level;
    return el("tr", { class: first && index ? "apart" : null },
      el("th", { scope: "row" }, row.level), el("td", { class: "text" }, row.label.toUpperCase()),
      el("td", {}, integer(row.problems)),
      ks.map((k) => el("td", { class: k === "1" ? "strong" : null }, row.pass_at[k] === undefined ? "–" : percent(row.pass_at[k], 1))),
      el("td", {}, `${percent(row.interval[0], 0)}–${percent(row.interval[1], 0)}`),
      el("td", {}, whisker(row, labels.indexOf(row.label))),
      failures.map((outcome) => el("td", {}, percent(row.outcomes[outcome.key] ?? 0, 0))),
      el("td", {}, integer(row.faults)));
  });
  byId("heldout-table").append(el("table", {},
    el("caption", { class: "visually-hidden" }, "Held-out scores by level and evaluation"),
    el("thead", {}, el("tr", {}, text("level"), text("model"), number("problems"), ks.map((k) => number(`pass@${k}`)), number("95%"), text("0 – 100%"),
      failures.map((outcome) => number(outcome.label)), number("faults"))),
    el("tbody", {}, body)));
  if (gains.length) {
    byId("heldout-gain").textContent = `Paired gain from ${labels[0].toUpperCase()} to ${labels.at(-1).toUpperCase()}: `
      + gains.map((gain) => `${gain.level} ${points(gain.mean)} (95% ${points(gain.interval[0])} to ${points(gain.interval[1])})`).join("; ") + " points.";
  }
}

const points = (share) => minus(`${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`);
