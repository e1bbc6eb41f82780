(least) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parsed = new Map();
  // [red, green, blue, alpha] of any colour that CSS can say, color-mix and oklab too
  const rgba = (text) => {
    if (!parsed.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      parsed.set(text, [r, g, b, a / 255]);
    }
    return parsed.get(text);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  // every colour that may stand behind an element: a gradient has several
  const grounds = (node) => {
    const below = node.parentElement ? grounds(node.parentElement) : [[255, 255, 255]];
    const style = getComputedStyle(node);
    const stops = style.backgroundImage === "none" ? []
      : style.backgroundImage.match(/(?:rgba?|oklab|color)\([^()]*\)/g) ?? [];
    const plain = below.map((colour) => over(rgba(style.backgroundColor), colour));
    return stops.length ? stops.flatMap((stop) => plain.map((colour) => over(rgba(stop), colour))) : plain;
  };
  const low = [];
  let count = 0;
  const look = (node, colour, text) => {
    count += 1;
    let opacity = 1;
    for (let up = node; up; up = up.parentElement) opacity *= Number(getComputedStyle(up).opacity);
    const [r, g, b, a] = rgba(colour);
    for (const ground of grounds(node)) {
      const ratio = contrast(over([r, g, b, a * opacity], ground), ground);
      if (ratio < least) low.push([text.trim().slice(0, 30), node.className.baseVal ?? node.className, Number(ratio.toFixed(2))]);
    }
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest("script, style, option, .visually-hidden")) continue;
    const style = getComputedStyle(node);
    look(node, node instanceof SVGElement ? style.fill : style.color, texts.currentNode.data);
  }
  for (const node of document.querySelectorAll("select, input:not([type=checkbox])")) {
    look(node, getComputedStyle(node).color, node.dataset.key);
    if (node.placeholder) look(node, getComputedStyle(node, "::placeholder").color, node.placeholder);
  }
  return { low, count };
}
