// The samples: filters, a list, and the program of the one that is chosen.
const STARTING = ["outcome", "level", "stage", "step"];
let showSamplesOf = () => {};

function drawSamples() {
  const all = data.samples;
  const of = data.run.trained;
  byId("sample-count").textContent = all.length
    ? `${integer(all.length)} of ${plural(of, "trained sample")}, an even choice over steps and outcomes of the ${integer(data.recorded)} that samples.jsonl keeps in full.`
    : `None of the ${plural(of, "trained sample")} was kept in full (train.detailed_samples).`;
  if (!all.length) return;

  const titles = { outcome: "Outcome", level: "Level", stage: "Stage", step: "Step" };
  const values = (key) => [...new Set(all.map((sample) => sample[key]))].sort((a, b) => (typeof a === "number" ? a - b : 0));
  const inOrder = { outcome: data.outcomes.map((outcome) => outcome.key).filter((key) => values("outcome").includes(key)) };
  const label = (key, value) => (key === "outcome" ? outcomeLabel[value] : String(value) || "–");
  const selects = STARTING.map((key) => el("select", { "data-key": key }, el("option", { value: "" }, "all"),
    (inOrder[key] ?? values(key)).map((value) => el("option", { value }, label(key, value)))));
  const lines = el("select", { "data-key": "lines" }, el("option", { value: "" }, "any"),
    [["m", "with masked lines"], ["g", "with given code"], ["u", "untrusted coverage"], ["n", "does not compile"]]
      .filter(([fate]) => all.some((sample) => sample.lines.some((line) => line[0] === fate)))
      .map(([fate, text]) => el("option", { value: fate }, text)));
  const search = el("input", { type: "search", placeholder: "part of an id", "data-key": "problem", autocomplete: "off", spellcheck: "false" });
  const filters = el("div", { class: "filters", role: "group", "aria-label": "Filter samples" },
    STARTING.map((key, place) => el("label", {}, titles[key], selects[place])), el("label", {}, "Lines", lines), el("label", {}, "Problem", search));

  const list = el("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": "Samples" });
  const status = el("p", { class: "note", role: "status" });
  const head = el("h3", { id: "sample-title" });
  const facts = el("div", { class: "facts" });
  const error = el("p", { class: "error", hidden: true });
  const legend = el("ul", { class: "legend" });
  const program = el("div", { class: "program", role: "group", "aria-label": "Program: arrow keys move through its tokens" });
  const inspector = el("div", { class: "inspector", role: "status", id: "inspector" });
  const modes = el("div", { class: "segmented", role: "group", "aria-label": "Colour by" },
    el("button", { type: "button", "data-mode": "lines", "aria-pressed": "true" }, "Lines"),
    el("button", { type: "button", "data-mode": "surprise", "aria-pressed": "false" }, "Log-probs"));
  const previous = el("button", { type: "button" }, "← Previous");
  const next = el("button", { type: "button" }, "Next →");
  const viewer = el("div", { class: "viewer", role: "region", "aria-labelledby": "sample-title" },
    el("div", { class: "head" }, head, el("div", { class: "stepper" }, previous, next)), facts, error,
    el("div", { class: "codebar" }, legend, modes), inspector, program);
  // the first sample to be shown shows what the mask does
  const showsMost = (sample) => ["g", "e", "m"].every((fate) => sample.lines.some((line) => line[0] === fate));
  let matching = all;
  let chosen = null;
  let mode = "lines";

  function drawLegend() {
    if (mode === "surprise") {
      legend.replaceChildren(...SURPRISES.map(([, level, text]) => el("li", {}, el("span", { class: `mark s${level}` }, "a"), text)));
      return;
    }
    const count = {};
    for (const [fate] of chosen.lines) count[fate] = (count[fate] ?? 0) + 1;
    legend.replaceChildren(...Object.entries(FATES).filter(([fate]) => count[fate]).map(([fate, { mark, label: text }]) =>
      el("li", {}, el("span", { class: `row f-${fate}`, "aria-hidden": "true" }, el("span", { class: "mark" }, mark)), `${text} (${count[fate]})`)));
  }

  function choose(sample, { focus = false } = {}) {
    chosen = sample;
    for (const option of list.querySelectorAll('[aria-selected="true"]')) option.setAttribute("aria-selected", "false");
    const option = sample && byId(`option-${all.indexOf(sample)}`);
    viewer.hidden = !sample;
    if (!sample) { list.removeAttribute("aria-activedescendant"); return; }
    option.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", option.id);
    const [top, bottom] = [option.offsetTop - list.offsetTop, option.offsetTop - list.offsetTop + option.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
    head.replaceChildren(glyph(sample.outcome), sample.problem);
    const kept = [...sample.kept].filter((flag) => flag === "k").length;
    const fact = (name, value) => el("span", {}, `${name} `, el("b", {}, value));
    facts.replaceChildren(fact("outcome", outcomeLabel[sample.outcome]), fact("tests", `${sample.tests[0]} of ${sample.tests[1]}`),
      fact("reward", minus(`${sample.reward > 0 ? "+" : ""}${sample.reward.toFixed(2)}`)), fact("step", integer(sample.step)), fact("stage", String(sample.stage)),
      sample.level && fact("level", sample.level), fact("kept", `${kept} of ${plural(sample.kept.length, "token")}`),
      fact("weights", [...new Set(sample.weights)].join("–")), fact("id", sample.id));
    error.hidden = !sample.detail;
    error.textContent = shown(sample.detail);
    previous.disabled = sample === matching[0];
    next.disabled = sample === matching.at(-1);
    drawLegend();
    inspector.replaceChildren(el("span", { class: "hint" }, "Point at a token, or move through the program with the arrow keys."));
    drawProgram(program, sample, (content) => inspector.replaceChildren(...content.map((part) => (typeof part === "string" ? document.createTextNode(part) : part))));
    if (focus) program.querySelector(".token")?.focus();
  }

  function drawList() {
    const wanted = Object.fromEntries(selects.map((select) => [select.dataset.key, select.value]));
    const part = search.value.trim().toLowerCase();
    matching = all.filter((sample) => STARTING.every((key) => !wanted[key] || String(sample[key]) === wanted[key])
      && (!lines.value || sample.lines.some((line) => line[0] === lines.value)) && sample.problem.toLowerCase().includes(part));
    list.replaceChildren(...matching.map((sample) => el("div", { class: "option", role: "option", id: `option-${all.indexOf(sample)}`, "data-sample": sample.id, "aria-selected": "false" },
      glyph(sample.outcome), el("b", {}, sample.problem), el("span", {}, `step ${integer(sample.step)}`),
      el("span", { class: "where" }, `${outcomeLabel[sample.outcome]} · stage ${sample.stage} · ${sample.tests[0]}/${sample.tests[1]} tests`))));
    if (!matching.length) list.append(el("p", { class: "empty" }, "No sample matches the filters."));
    status.textContent = `${plural(matching.length, "sample")} match.`;
    choose(matching.includes(chosen) ? chosen : (chosen ? null : matching.find(showsMost)) ?? matching[0] ?? null);
  }

  const move = (by) => { if (matching.length) choose(matching[clamp(matching.indexOf(chosen) + by, 0, matching.length - 1)]); };
  const jumps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  list.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); program.querySelector(".token")?.focus(); }
    if (event.key in jumps) { event.preventDefault(); move(jumps[event.key]); }
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest(".option");
    if (option) choose(all[Number(option.id.slice("option-".length))]);
  });
  previous.addEventListener("click", () => move(-1));
  next.addEventListener("click", () => move(1));
  for (const select of [...selects, lines]) select.addEventListener("change", drawList);
  search.addEventListener("input", drawList);
  segmented(modes, "mode", (wanted) => { mode = wanted; program.classList.toggle("by-surprise", mode === "surprise"); drawLegend(); });
  program.addEventListener("keydown", (event) => { if (event.key === "Escape") list.focus(); });
  showSamplesOf = (problem) => {
    for (const select of [...selects, lines]) select.value = "";
    search.value = problem;
    drawList();
    byId("samples").scrollIntoView();
    list.focus({ preventScroll: true });
  };
  byId("sample-view").append(filters, status, el("div", { class: "browser" }, list, viewer));
  drawList();
}
