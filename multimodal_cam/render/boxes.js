// regions as outlines of their boxes, wide and bright where a value is high, the strongest on top
const drawBoxes = (context, map, boxes, top) => {
  const { width, height } = context.canvas, cells = shownCells(map).map((cell) => cell / top);
  const order = [...cells.keys()].filter((i) => cells[i]).sort((a, b) => Math.abs(cells[a]) - Math.abs(cells[b]));
  for (const i of order) {
    const [left, top, right, bottom] = boxes[i], heat = Math.min(Math.abs(cells[i]), 1);
    const x0 = Math.min(Math.round(left * width), width - 1), x1 = Math.max(Math.round(right * width), x0 + 1);
    const y0 = Math.min(Math.round(top * height), height - 1), y1 = Math.max(Math.round(bottom * height), y0 + 1);
    const line = Math.min(Math.max(1, Math.round(colour.line * Math.max(width, height) * heat)), x1 - x0, y1 - y0);
    const [red, green, blue, opacity] = paint(cells[i]);
    context.clearRect(x0, y0, x1 - x0, line);  // what is weaker does not shine through
    context.clearRect(x0, y1 - line, x1 - x0, line);
    context.clearRect(x0, y0, line, y1 - y0);
    context.clearRect(x1 - line, y0, line, y1 - y0);
    context.strokeStyle = `rgb(${red} ${green} ${blue} / ${opacity / 255})`;
    context.lineWidth = line;
    context.strokeRect(x0 + line / 2, y0 + line / 2, x1 - x0 - line, y1 - y0 - line);
  }
};
