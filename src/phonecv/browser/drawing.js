// What the drawings of all tasks share.

/** Put a picture {width, height, data: RGBA bytes} into a canvas; its context. */
export function paint(canvas, image) {
  Object.assign(canvas, { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(new Uint8ClampedArray(image.data), image.width, image.height), 0, 0);
  return context;
}

/** Fill an <ol> with lines [name, figure, colour or nothing]. */
export function fill(list, lines, nothing = "Nothing found.") {
  const items = lines.map(([name, figure, colour]) => {
    const item = document.createElement("li"), right = document.createElement("b");
    if (colour) {
      const mark = document.createElement("i");
      mark.style.background = colour;
      item.append(mark);
    }
    right.textContent = figure;
    item.append(name, right);
    return item;
  });
  if (!items.length) items.push(Object.assign(document.createElement("li"), { textContent: nothing }));
  list.replaceChildren(...items);
}

/** 0..1 as per cent. */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** A colour for a class, well apart from its neighbours. */
export function colourOf(label) {
  return `hsl(${(label * 137.5) % 360} 85% 45%)`;
}
