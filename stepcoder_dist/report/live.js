// While the run lives the page reads itself again, and stays as its reader left it.
const CHOICES = "input[id], select[data-key], input[data-key]";
const IDLE_MS = 5000;
const OLD_S = 3600;

function kept() {
  const text = (node) => node.getAttribute("aria-label") || node.id || node.textContent;
  const focused = document.activeElement;
  return {
    pressed: [...document.querySelectorAll(".segmented")].map((group) => group.querySelector('[aria-pressed="true"]')?.textContent),
    fields: Object.fromEntries([...document.querySelectorAll(CHOICES)].map((field) => [field.id || field.dataset.key, field.type === "checkbox" ? field.checked : field.value])),
    open: [...document.querySelectorAll("details")].map((details) => details.open),
    sample: document.querySelector('.option[aria-selected="true"]')?.dataset.sample,
    list: document.querySelector(".list")?.scrollTop,
    focus: focused && focused !== document.body ? [focused.tagName, text(focused)] : null,
    scroll: [window.scrollX, window.scrollY],
  };
}

function restore(state) {
  const groups = [...document.querySelectorAll(".segmented")];
  state.pressed.forEach((label, place) => [...groups[place]?.querySelectorAll("button") ?? []].find((button) => button.textContent === label)?.click());
  for (const field of document.querySelectorAll(CHOICES)) {
    const value = state.fields[field.id || field.dataset.key];
    if (value === undefined || value === (field.type === "checkbox" ? field.checked : field.value)) continue;
    if (field.type === "checkbox") field.checked = value; else field.value = value;
    field.dispatchEvent(new Event(field.type === "search" ? "input" : "change"));
  }
  [...document.querySelectorAll("details")].forEach((details, place) => { details.open = state.open[place] ?? false; });
  [...document.querySelectorAll(".option")].find((option) => option.dataset.sample === state.sample)?.click();
  if (state.list !== undefined && document.querySelector(".list")) document.querySelector(".list").scrollTop = state.list;
  if (state.focus) {
    const [tag, label] = state.focus;
    [...document.querySelectorAll(tag)].find((node) => (node.getAttribute("aria-label") || node.id || node.textContent) === label)?.focus({ preventScroll: true });
  }
  window.scrollTo(...state.scroll);
}

function keepUp() {
  const state = history.state?.report;
  history.scrollRestoration = state ? "manual" : "auto";
  // charts have their heights, and opened tables their rows, by the second frame
  const settled = (act) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(act)));
  if (state) settled(() => { restore(state); settled(() => { window.scrollTo(...state.scroll); document.body.dataset.restored = "yes"; }); });
  if (!data.run.live) return;
  byId("live").hidden = false;
  let touched = 0;
  for (const event of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
    document.addEventListener(event, () => { touched = performance.now(); }, { passive: true });
  }
  const reread = () => {
    history.replaceState({ ...history.state, report: kept() }, "");
    location.reload();
  };
  document.addEventListener("stepcoder-refresh", reread);
  const again = () => {
    const busy = touched && performance.now() - touched < IDLE_MS;
    const old = Date.now() / 1000 - data.run.written > OLD_S;  // a run that was killed ended without its last page
    if (!byId("refresh").checked || old || busy || !document.getSelection().isCollapsed) { setTimeout(again, 1000); return; }
    reread();
  };
  setTimeout(again, 1000 * data.run.live);
}
