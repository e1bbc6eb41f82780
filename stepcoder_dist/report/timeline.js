// The newest steps: a row of bars for each pool, on one axis of seconds.
const KINDS = [["decoding", "decoding"], ["judging", "judging"], ["learner", "learner pass"], ["publish", "snapshot, push"],
  ["pause", "pause of an engine"], ["checkpoint", "checkpoint"], ["waiting", "waiting"]];

function drawTimeline() {
  const { steps, rows } = data.timeline;
  if (!steps.length) return;
  byId("timeline").hidden = false;
  const readout = el("p", { class: "readout" });
  const holder = el("div");
  const kinds = KINDS.filter(([kind]) => rows.some((row) => row.bars.some((bar) => bar[2] === kind)));
  const seconds = (ms) => `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  const stepAt = (ms) => steps.findLast(([, begin]) => begin <= ms) ?? steps[0];
  const say = (row, [begin, end, , text, most]) => {
    const [step, from] = stepAt(begin);
    readout.textContent = `step ${integer(step)}, ${seconds(begin - from)} after its begin: ${row.label}: ${text}${most > 1 ? `, ${most} at once` : ""}, for ${seconds(end - begin)}`;
  };
  let shown = steps.slice(-4);
  let width = 0;

  function draw() {
    const left = 92, right = 8, top = 22, pitch = 26, bottom = 20;
    const [low, high] = [shown[0][1], shown.at(-1)[2]];
    const height = top + rows.length * pitch + bottom;
    const x = (ms) => left + (clamp(ms, low, high) - low) / (high - low || 1) * (width - left - right);
    const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Timeline of the pools; the table below has its seconds" });
    shown.forEach(([step, begin, end], place) => {
      const room = x(end) - x(begin);
      if (place % 2) node.append(svg("rect", { class: "band", x: x(begin), width: room, y: top - 4, height: height - top - bottom + 8 }));
      if (room > 40) node.append(svg("text", { x: (x(begin) + x(end)) / 2, y: 12, "text-anchor": "middle" }, `step ${integer(step)}`));
    });
    for (const tick of niceTicks(0, (high - low) / 1000, Math.max(2, width / 110))) {
      const place = x(low + 1000 * tick);
      node.append(svg("line", { class: "grid", x1: place, x2: place, y1: top - 4, y2: height - bottom + 4 }),
        svg("text", { x: place, y: height - 5, "text-anchor": "middle" }, tickText(tick) + (tick === 0 ? " s" : "")));
    }
    rows.forEach((row, place) => {
      const y = top + place * pitch;
      node.append(svg("text", { x: left - 8, y: y + pitch / 2 + 3, "text-anchor": "end" }, row.label));
      for (const bar of row.bars) {
        if (bar[1] <= low || bar[0] >= high) continue;
        const [from, to] = [x(bar[0]), x(bar[1])];
        const thin = bar[2] === "pause" || (row.key === "learner" && bar[2] === "checkpoint");
        node.append(svg("rect", { class: "bar", x: from, width: Math.max(to - from, 0.8), y: y + (thin ? 15 : 3), height: thin ? 8 : 19, fill: hatch(bar[2]), on: { pointerenter: () => say(row, bar) } }));
      }
    });
    holder.replaceChildren(node);
    readout.textContent = `steps ${integer(shown[0][0])} to ${integer(shown.at(-1)[0])}: ${seconds(high - low)}`;
  }
  segmented(byId("timeline-steps"), "steps", (number) => { shown = steps.slice(-Number(number)); if (width) draw(); });
  responsive(holder, (space) => { width = space; draw(); });
  // seconds of each row within each step, overlaps counted once
  const within = (bars, begin, end) => {
    let sum = 0, until = begin;
    for (const [from, to] of bars.map((bar) => [bar[0], bar[1]]).sort((a, b) => a[0] - b[0])) {
      const [low, high] = [Math.max(from, until), Math.min(to, end)];
      if (high > low) { sum += high - low; until = high; }
    }
    return sum;
  };
  byId("timeline-view").append(el("div", { class: "chart wide" }, readout, holder,
    el("ul", { class: "legend" }, kinds.map(([kind, label]) => el("li", {}, swatch(kind), label))),
    tableOnDemand("Seconds by pool and step", ["step", "seconds", ...rows.map((row) => row.label)],
      () => steps.map(([step, begin, end]) => [integer(step), seconds(end - begin), ...rows.map((row) => seconds(within(row.bars, begin, end)))]))));
}
