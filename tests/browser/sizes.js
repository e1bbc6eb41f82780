() => [...document.querySelectorAll("a[href], button, select, input, summary, .option")]
  .map((node) => node.closest("label.switch") ?? node)
  .filter((node) => node.checkVisibility() && !node.matches(".skip"))
  .map((node) => [node.textContent.trim().slice(0, 20) || node.dataset.key, node.getBoundingClientRect()])
  .map(([name, box]) => [name, Math.round(box.width), Math.round(box.height)])
