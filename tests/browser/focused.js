() => {
  const node = document.activeElement;
  const box = node.getBoundingClientRect();
  const style = getComputedStyle(node);
  return { probe: node.dataset.probe ?? null, name: node.id || node.getAttribute("aria-label") || node.textContent.slice(0, 30),
    box: [box.left, box.top, box.width, box.height], outline: [style.outlineStyle, parseFloat(style.outlineWidth), style.outlineColor],
    bar: node.closest(".top, .skip") ? 0 : document.querySelector(".top").getBoundingClientRect().bottom };
}
