// The curriculum map: problems × steps, by the stage at which a problem was sampled.
function drawMap() {
  const { problems, of, merged } = data.map;
  if (!problems.length) { byId("map-view").append(el("p", { class: "empty" }, "No sample has been trained yet.")); return; }
  if (of > problems.length) byId("map-note").textContent += ` ${integer(problems.length)} of ${integer(of)} problems, evenly chosen.`;
  if (merged) byId("map-note").textContent += " A tick represents all samples of a problem at one stage: the run is long.";
  const deepest = Math.max(...problems.flatMap((problem) => problem.visits.map((visit) => visit[1])));
  const lastStep = Math.max(data.run.done, ...problems.map((problem) => problem.visits.at(-1)[0]));
  const firstStep = Math.min(...problems.map((problem) => problem.visits[0][0]));
  const colour = (stage) => `color-mix(in oklab, var(--stage-far) ${deepest ? (100 * stage) / deepest : 0}%, var(--stage-near))`;
  const thickness = (stage) => 1 - 0.5 * (deepest ? stage / deepest : 0);
  const readout = el("p", { class: "readout", "aria-live": "polite" });
  const holder = el("div");
  const frame = el("div", { class: "mapframe" }, holder);
  const at = { row: 0, step: lastStep };

  const visitAt = (problem, step) => problem.visits.findLast((visit) => visit[0] <= step);
  function say() {
    const problem = problems[at.row];
    const visit = visitAt(problem, at.step);
    const where = `${problem.id}${problem.level ? `, ${problem.level}` : ""} · step ${integer(at.step)}: `;
    if (!visit) return `${where}not sampled yet`;
    const [step, stage, passed, sampled] = visit;
    const then = step === at.step ? "sampled" : `last sampled at step ${integer(step)}`;
    return `${where}stage ${stage}${stage === 0 ? " (complete program)" : ""}, ${then}, ${passed} of ${sampled} passed`;
  }

  const open = () => showSamplesOf(problems[at.row].id);
  const opener = el("button", { type: "button", class: "plain", on: { click: open } }, "Show its samples");

  responsive(holder, (width) => {
    const left = 8, right = 8, top = 4, bottom = 20, title = 22;
    const height = clamp(560 / problems.length, 4, 16);
    const pitch = height <= 6 ? height : height - 1;
    const column = (width - left - right) / (lastStep - firstStep + 1);
    const x = (step) => left + (step - firstStep) * column;
    const tops = [];
    let y = top;
    const node = svg("svg", { width, tabindex: 0, role: "application", "aria-roledescription": "map",
      "aria-label": "Curriculum map: up and down move between problems, left and right between steps, Enter shows the problem's samples" });
    problems.forEach((problem, row) => {
      const start = problem.visits[0][1];
      if (row === 0 || problems[row - 1].visits[0][1] !== start) {
        const many = problems.filter((other) => other.visits[0][1] === start).length;
        y += row ? 10 : 0;
        node.append(svg("text", { x: left, y: y + 12 }, `began at stage ${start} · ${plural(many, "problem")}`));
        y += title;
      }
      tops.push(y);
      let runStart = 0;
      problem.visits.forEach((visit, index) => {
        const next = problem.visits[index + 1];
        if (next && next[1] === visit[1]) return;
        const from = x(problem.visits[runStart][0]);
        const to = next ? x(next[0]) : x(lastStep + 1);
        const thick = pitch * thickness(visit[1]) * 0.86;
        node.append(svg("rect", { x: from, width: Math.max(to - from, 1), y: y + (pitch - thick) / 2, height: thick, css: { fill: colour(visit[1]) } }));
        runStart = index + 1;
      });
      if (column > 3) {
        const path = problem.visits.map((visit) => `M${(x(visit[0]) + column / 2).toFixed(1)} ${(y + pitch * 0.2).toFixed(1)}v${(pitch * 0.6).toFixed(1)}`).join("");
        node.append(svg("path", { class: "tick", d: path }));
      }
      y += pitch;
    });
    const total = y + bottom;
    fill(node, { height: total, viewBox: `0 0 ${width} ${total}` }, []);
    for (const tick of stepTicks(firstStep, lastStep, Math.max(2, width / 90))) {
      node.append(svg("text", { x: clamp(x(tick) + column / 2, left + 4, width - right - 4), y: total - 5, "text-anchor": "middle" }, integer(tick)));
    }
    const mark = svg("rect", { class: "cursor", height: pitch + 2, width: Math.max(column, 3), visibility: "hidden" });
    node.append(mark);
    const show = (visible) => {
      readout.textContent = say();
      fill(mark, { x: x(at.step), y: tops[at.row] - 1, visibility: visible ? "visible" : "hidden" }, []);
    };
    const place = (event) => {
      const box = node.getBoundingClientRect();
      const row = tops.findLastIndex((rowTop) => rowTop <= event.clientY - box.top);
      at.row = clamp(row, 0, problems.length - 1);
      at.step = clamp(firstStep + Math.floor((event.clientX - box.left - left) / column), firstStep, lastStep);
      show(true);
    };
    node.addEventListener("pointermove", place);
    node.addEventListener("pointerdown", place);
    node.addEventListener("dblclick", open);
    node.addEventListener("focus", () => show(true));
    node.addEventListener("blur", () => show(false));
    node.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -Infinity], End: [0, Infinity] };
      if (event.key === "Enter") { event.preventDefault(); open(); }
      if (!(event.key in moves)) return;
      event.preventDefault();
      at.row = clamp(at.row + moves[event.key][0], 0, problems.length - 1);
      at.step = clamp(at.step + moves[event.key][1], firstStep, lastStep);
      show(true);
      const rowTop = tops[at.row] - frame.scrollTop;
      if (rowTop < 0 || rowTop > frame.clientHeight - 30) frame.scrollTop = tops[at.row] - frame.clientHeight / 2;
    });
    holder.replaceChildren(node);
    show(false);
  });

  const legend = el("ul", { class: "legend" }, [...Array(deepest + 1).keys()].reverse().map((stage) => {
    const thick = 14 * thickness(stage);
    return el("li", {}, svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" },
      svg("rect", { width: 20, y: (14 - thick) / 2, height: thick, css: { fill: colour(stage) } })), stage === 0 ? "stage 0, complete program" : `stage ${stage}`);
  }));
  byId("map-view").append(el("div", { class: "chart wide" }, el("div", { class: "heading" }, readout, opener), frame, legend,
    tableOnDemand("Curriculum by problem", ["problem", "level", "first stage", "last stage", "times sampled", "samples", "passed"],
      () => problems.map((problem) => {
        const sum = (place) => problem.visits.reduce((total, visit) => total + visit[place], 0);
        return [problem.id, problem.level || "–", problem.visits[0][1], problem.visits.at(-1)[1], merged ? "–" : problem.visits.length, sum(3), percent(sum(2) / sum(3))].map(String);
      }))));
}
