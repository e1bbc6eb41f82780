(controls) => [...document.querySelectorAll(controls)]
  .filter((node) => node.checkVisibility() && !node.disabled && node.tabIndex === 0)
  .map((node, place) => (node.dataset.probe = String(place)))
