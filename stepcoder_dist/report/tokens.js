// One program, line by line and token by token, with the figures of the token that is pointed at.
const FATES = {
  g: { mark: "┊", label: "given", why: "given code: the policy did not write it, it carries no loss" },
  e: { mark: "✓", label: "executed, kept", why: "a test executed it" },
  f: { mark: "↳", label: "kept with its block", why: "not executed by itself, kept with the statement or block it belongs to" },
  m: { mark: "✕", label: "not executed, masked", why: "no test executed it" },
  u: { mark: "?", label: "untrusted, kept", why: "the program touches tracing machinery: its coverage proves nothing, every token is kept" },
  n: { mark: "!", label: "did not run, kept", why: "the program does not compile, every token is kept" },
  a: { mark: "·", label: "after the program", why: "closing fence and what follows it" },
};
const SURPRISES = [[-0.1, 0, "p ≥ 90%"], [-0.7, 1, "50–90%"], [-1.6, 2, "20–50%"], [-3, 3, "5–20%"], [-Infinity, 4, "p < 5%"]];
const surprise = (logprob) => SURPRISES.find(([bound]) => logprob >= bound)[1];

// What prints nothing, or turns the reading direction, is shown by its name.
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const shown = (text) => text.replace(HIDDEN, (character) => {
  const code = character.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
});
const quoted = (text) => shown(text.replaceAll("\r", "\\r").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll(" ", "␣"));

/** The text of a piece, its line end as a faint sign that cannot be copied. */
function pieceText(text) {
  const end = text.match(/[\r\n]+$/)?.[0] ?? "";
  return [shown(text.slice(0, text.length - end.length)), end && el("span", { class: "end", "aria-hidden": "true" }, "↵")];
}

function tokenTexts(sample) {
  const texts = [];
  for (const [, , pieces] of sample.lines) for (const [token, text] of pieces) if (token >= 0) texts[token] = (texts[token] ?? "") + text;
  return texts;
}

/** Draws into `program`; calls `inspect` with the token that is pointed at. */
function drawProgram(program, sample, inspect) {
  const texts = tokenTexts(sample);
  const count = sample.logprobs.length;
  const spans = [];
  const span = (token, line, content, style = "") => {
    const fate = sample.lines[line][0];
    let flags = style;
    if (token >= 0) {
      const kept = sample.kept[token] === "k";
      if (!kept && fate !== "m" && fate !== "a") flags += " off";
      flags += ` s${surprise(sample.logprobs[token])}`;
    }
    const node = el("span", { class: `token ${flags}`, tabindex: -1, "data-token": token, "data-line": line }, content);
    spans.push(node);
    return node;
  };
  const rows = sample.lines.map(([fate, , pieces], line) => el("div", { class: `row f-${fate}` },
    el("span", { class: "number", "aria-hidden": "true" }, String(line + 1)),
    el("span", { class: "mark", "aria-hidden": "true", title: FATES[fate].label }, FATES[fate].mark),
    el("span", { class: "text" }, pieces.map(([token, text]) => span(token, line, pieceText(text))))));
  if (sample.silent.at(-1) === count - 1) {
    rows.at(-1)?.lastChild.append(span(count - 1, sample.lines.length - 1, " ■ end", "end"));
  }
  const lines = el("div", { class: "lines" }, rows);
  program.replaceChildren(lines);
  if (spans.length) spans[0].tabIndex = 0;

  const describe = (node) => {
    const token = Number(node.dataset.token);
    const line = Number(node.dataset.line);
    const [fate, executed] = sample.lines[line];
    const place = `Line ${line + 1}: ${FATES[fate].why}${fate === "g" && executed ? "; a test executed it" : ""}.`;
    if (token < 0) { inspect([el("b", {}, "Given code"), ` · ${place}`]); return; }
    const logprob = sample.logprobs[token];
    let before = 0;
    while (sample.silent.includes(token - 1 - before)) before += 1;
    inspect([
      el("b", {}, `Token ${token + 1} of ${count}`), " ", el("code", {}, texts[token] ? quoted(texts[token]) : "end of sequence"),
      ` · log-prob ${minus(logprob.toFixed(3))} (p = ${percent(Math.exp(logprob))}) · `,
      el("b", {}, sample.kept[token] === "k" ? "kept" : "masked"), sample.kept[token] === "k" ? ": carries policy loss. " : ": carries no policy loss. ",
      before ? `With ${plural(before, "token")} before it that print nothing alone. ` : "", place]);
  };
  const point = (node) => {
    for (const other of spans) if (other.tabIndex === 0) other.tabIndex = -1;
    for (const other of program.querySelectorAll(".here")) other.classList.remove("here");
    for (const part of spans) if (part.dataset.token === node.dataset.token && part.dataset.token !== "-1") part.classList.add("here");
    node.tabIndex = 0;
    describe(node);
  };
  program.onpointerover = (event) => { const node = event.target.closest(".token"); if (node) point(node); };
  // on the element that is drawn again with each sample: browsers know no `onfocusin` property
  lines.addEventListener("focusin", (event) => { const node = event.target.closest(".token"); if (node) point(node); });
  program.onclick = (event) => event.target.closest(".token")?.focus();
  program.onkeydown = (event) => {
    const node = event.target.closest(".token");
    const next = node && neighbour(spans, node, event.key);
    if (!node || next === undefined) return;
    event.preventDefault();
    next?.focus();
  };
}

/** Where an arrow key leads; undefined: it is no arrow key. */
function neighbour(spans, node, key) {
  const here = spans.indexOf(node);
  const line = Number(node.dataset.line);
  const on = (number) => spans.filter((other) => Number(other.dataset.line) === number);
  switch (key) {
    case "ArrowLeft": return spans[here - 1] ?? null;
    case "ArrowRight": return spans[here + 1] ?? null;
    case "Home": return on(line)[0];
    case "End": return on(line).at(-1);
    case "ArrowUp": case "ArrowDown": {
      const left = node.getBoundingClientRect().left;
      const others = on(line + (key === "ArrowUp" ? -1 : 1));
      return others.length ? others.reduce((best, other) =>
        Math.abs(other.getBoundingClientRect().left - left) < Math.abs(best.getBoundingClientRect().left - left) ? other : best) : null;
    }
    default: return undefined;
  }
}
