// The head of the page, and its sections in order.
function tile(name, value, small) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, small && el("small", {}, small)));
}

/** Means over the first and the last fifth of the run: one step says little. */
function firstAndLast(name) {
  const values = (data.columns[name] ?? []).filter((value) => value !== null);
  if (!values.length) return null;
  const few = Math.max(1, Math.round(values.length / 5));
  const mean = (part) => part.reduce((sum, value) => sum + value, 0) / part.length;
  return [mean(values.slice(0, few)), mean(values.slice(-few))];
}

function drawLede() {
  const { run } = data;
  document.body.dataset.drawn = "no";
  byId("run-name").textContent = run.name;
  byId("brand").textContent = run.name;
  const planned = run.planned ?? run.done;
  const state = run.done >= planned ? plural(run.done, "step") : `${integer(run.done)} of ${plural(planned, "step")} so far`;
  const when = run.updated && new Date(1000 * run.updated).toISOString().slice(0, 16).replace("T", " ");
  byId("run-state").textContent = `${state}${when ? `, the last one recorded ${when} UTC` : ""} · ${run.folder}`;
  const between = (name, title, show) => {
    const pair = firstAndLast(name);
    if (pair) byId("tiles").append(tile(title, show(pair[1]), `from ${show(pair[0])}`));
  };
  const gain = data.heldout.gains.at(-1);
  if (gain) byId("tiles").append(tile("Held-out gain", `${points(gain.mean)} points`, `95% ${points(gain.interval[0])} to ${points(gain.interval[1])}`));
  between("pass_rate", "Pass share", (value) => percent(value));
  between("reward", "Reward", (value) => figure(value));
  between("mean_stage", "Mean stage", (value) => figure(value));
  byId("tiles").append(tile("Samples trained", integer(run.trained), plural(run.tokens, "token")));
  if (run.seconds) byId("tiles").append(tile("Time in steps", duration(run.seconds), `${duration(run.seconds / Math.max(run.done, 1))} a step`));
  const odd = Object.entries(run.unreadable).map(([file, count]) => `${plural(count, "line")} of ${file} could not be read, or ${count === 1 ? "repeats a sample" : "repeat samples"}, and ${count === 1 ? "is" : "are"} left out.`);
  byId("footer").textContent = ["Made by stepcoder report from the run directory alone; the page fetches nothing.", ...odd].join(" ");
}

function drawNav() {
  for (const section of document.querySelectorAll("main > section[id]")) {
    if (!section.hidden) byId("nav").append(el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent));
  }
}

segmented(byId("theme"), "theme", (theme) => {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
});
drawLede();
drawHeldout();
if (steps.length) {
  drawCurves();
  drawOutcomes();
  drawPhases();
} else {
  for (const id of ["curves", "outcomes", "phases"]) byId(id).hidden = true;
}
drawMap();
drawSamples();
if (data.config) {
  byId("config").hidden = false;
  byId("config-text").textContent = data.config;
}
drawTimeline();
drawNav();
keepUp();
document.body.dataset.drawn = "yes";
