// what words and answers share: the whole runs inside one block, see html.py
const { colour, explanations } = JSON.parse(document.getElementById("data").textContent);
// pointing shows a word at once, so a click can add; where nothing can be pointed with, a tap is the only way to look
const settings = { own: false, signed: false, adding: matchMedia("(hover: hover)").matches, opacity: colour.opacity };
const views = [];
document.documentElement.classList.add("scripted");

// ---- maps and colours ---------------------------------------------------------------------------------------------

const decode = ({ rows, columns, step, grid }, share) => {
  const bytes = Uint8Array.from(atob(grid), (character) => character.charCodeAt(0));
  return { rows, columns, share, cells: Float64Array.from(new Int16Array(bytes.buffer), (level) => level * step) };
};
const total = (maps) => maps.length && { ...maps[0], cells: maps[0].cells.map((_, i) => maps.reduce((sum, map) => sum + map.cells[i], 0)) };
const difference = (one, other) => ({ ...one, bothSides: true, cells: one.cells.map((cell, i) => cell - other.cells[i]) });
const sides = (map) => settings.signed || !!map.bothSides;
const shownCells = (map) => (sides(map) ? map.cells : map.cells.map((cell) => Math.max(cell, 0)));
const largest = (map) => shownCells(map).reduce((top, cell) => Math.max(top, Math.abs(cell)), 0);
const strongest = (map) => (map.share ? topPixel : largest)(map);  // pixels.js

const channels = (stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16));
const arms = [colour.cool, colour.warm].map((arm) => arm.map(channels));
const paint = (value) => {
  const arm = arms[+(value >= 0)], at = Math.min(Math.abs(value), 1) * (arm.length - 1);
  const low = Math.min(Math.floor(at), arm.length - 2);
  const rgb = arm[low].map((channel, i) => channel + (arm[low + 1][i] - channel) * (at - low));
  return [...rgb, 255 * Math.min(Math.abs(value) / colour.knee, 1)];
};
const LEVELS = 512, palette = Array.from({ length: 2 * LEVELS + 1 }, (_, i) => paint(i / LEVELS - 1));

// where each pixel of a side falls between two cells: bilinear, centres of cells, null where the grid does not reach
const taps = (pixels, cells, start, end) => Array.from({ length: pixels }, (_, i) => {
  const at = ((i + 0.5) / pixels - start) / (end - start);
  if (at < 0 || at > 1) return null;
  const cell = Math.min(Math.max(at * cells - 0.5, 0), cells - 1), low = Math.floor(cell);
  return [low, Math.min(low + 1, cells - 1), cell - low];
});

const draw = (canvas, map, { frame, boxes }, top) => {
  const context = canvas.getContext("2d"), picture = context.createImageData(canvas.width, canvas.height);
  if (map && top > 0 && !boxes.length) {
    const cells = shownCells(map).map((cell) => cell / top);
    const xs = taps(canvas.width, map.columns, frame[0], frame[2]), ys = taps(canvas.height, map.rows, frame[1], frame[3]);
    ys.forEach((y, row) => y && xs.forEach((x, column) => {
      if (!x) return;
      const at = (line) => { const i = line * map.columns; return cells[i + x[0]] * (1 - x[2]) + cells[i + x[1]] * x[2]; };
      const value = Math.min(Math.max(at(y[0]) * (1 - y[2]) + at(y[1]) * y[2], -1), 1);
      picture.data.set(palette[Math.round((value + 1) * LEVELS)], 4 * (row * canvas.width + column));
    }));
  }
  context.putImageData(picture, 0, 0);
  if (map && top > 0 && boxes.length) drawBoxes(context, map, boxes, top);  // in boxes.js, on pages that have some
};

const outline = (canvas, boxes) => {  // white on black, as in figures
  const context = canvas.getContext("2d"), { width, height } = canvas;
  for (const [style, line] of [["#000", 5], ["#fff", 2.5]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: line });
    for (const [x0, y0, x1, y1] of boxes) context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
  }
};

const spot = (map, { frame, boxes }, better) => {
  const cells = shownCells(map), peak = cells.reduce((best, cell, i) => (better(cell, cells[best]) ? i : best), 0);
  const [left, top, right, bottom] = boxes[peak] ?? frame;
  const across = left + (right - left) * (boxes.length ? 0.5 : ((peak % map.columns) + 0.5) / map.columns);
  const down = top + (bottom - top) * (boxes.length ? 0.5 : (Math.floor(peak / map.columns) + 0.5) / map.rows);
  return `${Math.round(100 * across)} % from the left and ${Math.round(100 * down)} % from the top`;
};
const place = (map, where) => `strongest ${spot(map, where, (cell, best) => Math.abs(cell) > Math.abs(best))}`;

// ---- numbers as people read them ----------------------------------------------------------------------------------

const signed = (value) => (Math.abs(value) < 0.005 ? "0.00" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2));
const short = (value) => (value >= 1e-4 && value < 1e5 ? String(+value.toPrecision(2)) : value === 0 ? "0" : value.toExponential(1));
const percent = (share) => {
  if (share < 1e-5) return "< 0.001 %";
  if (share >= 0.9995 && share < 1) return "> 99.9 %";
  return (share < 0.0995 ? +(100 * share).toPrecision(2) : share > 0.995 && share < 1 ? (100 * share).toFixed(1) : Math.round(100 * share)) + " %";
};
const figures = ({ reliance, logProb }) => reliance !== null && logProb !== null
  ? [signed(reliance), percent(Math.exp(logProb)), percent(Math.min(Math.exp(logProb - reliance), 1))] : ["–", "–", "–"];
const balance = ({ gap, unplaced }, { score, unit }) => {
  const said = [], what = score === "log_prob" ? "these nats" : `the change of the ${score}`;
  if (gap !== null) said.push(`The map adds up to ${what} within ${short(Math.max(Math.abs(gap), 0.001))} ${unit}.`);
  if (Math.abs(unplaced) > 0.005) said.push(`${signed(unplaced)} ${unit} came from no place in particular.`);
  return said;
};
const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const rows = (pairs) => pairs.map(([name, value]) => element("div", "", element("dt", name), element("dd", value)));
const header = (text) => Object.assign(element("th", text), { scope: "row" });
const shade = (elements, values, least) => {
  const most = values.reduce((top, value) => Math.max(top, Math.abs(value)), least) || 1;
  elements.forEach((one, i) => {
    one.classList.add(values[i] < 0 ? "cool" : "warm");
    one.style.setProperty("--shade", `${100 * Math.abs(values[i]) / most}%`);
  });
};
const HALF = 0.5;  // of a nat, or of a logit: never a strong shade

// ---- what words and answers share: the picture, the settings, walking along ----------------------------------------

const stage = (article, data) => {
  const find = (selector) => article.querySelector(selector), canvas = find(".stage canvas"), image = find(".stage img");
  if (image.dataset.as) image.src = document.querySelectorAll(".stage img")[image.dataset.as - 1].src;
  const ratio = image.getAttribute("width") / image.getAttribute("height"), side = 480;
  find(".stage").style.setProperty("--ratio", ratio);
  canvas.width = Math.max(1, Math.round(side * Math.min(1, ratio)));
  canvas.height = Math.max(1, Math.round(side * Math.min(1, 1 / ratio)));
  return (map, top, label, boxes = []) => {
    draw(canvas, map, data, top);
    outline(canvas, boxes);
    canvas.setAttribute("aria-label", label);
    const context = find(".legend canvas").getContext("2d"), strip = context.createImageData(256, 1), both = map ? sides(map) : settings.signed;
    for (let i = 0; i < 256; i++) strip.data.set(paint(both ? i / 127.5 - 1 : i / 255), 4 * i);
    context.putImageData(strip, 0, 0);
    const texts = both ? [`−${short(top)}`, "0", `+${short(top)}`] : ["0", "", short(top)];
    find(".legend .ticks").replaceChildren(...texts.map((text, i) => element("span", i < 2 ? text : `${text} ${data.unit} a ${data.cell}`)));
  };
};

const set = (change) => { Object.assign(settings, change); views.forEach((redraw) => redraw()); };
const controls = (article, render) => {
  const all = [...article.querySelectorAll("[data-set]")], opacity = article.querySelector("input");
  const canvas = article.querySelector(".stage canvas");
  for (const button of all) {
    const { set: name, value } = button.dataset;
    button.addEventListener("click", () => set({ [name]: value === undefined ? !settings[name] : value === "true" }));
  }
  opacity.addEventListener("input", (event) => set({ opacity: +event.target.value }));
  views.push(() => {
    for (const button of all) {
      const { set: name, value } = button.dataset;
      button.setAttribute("aria-pressed", value === undefined ? settings[name] : String(settings[name]) === value);
    }
    opacity.value = canvas.style.opacity = settings.opacity;
    render();
  });
};

const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
const walk = (buttons, { show, back, keep }) => buttons.forEach((button, i) => {
  button.tabIndex = i ? -1 : 0;
  button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && show(i));
  button.addEventListener("pointerleave", back);
  button.addEventListener("focus", () => {
    buttons.forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
    show(i);
  });
  button.addEventListener("blur", back);
  button.addEventListener("click", (event) => keep(i, event));
  button.addEventListener("keydown", (event) => {
    if (!(event.key in step) || event.altKey || event.ctrlKey || event.metaKey) return;  // Alt and an arrow go back a page
    event.preventDefault();
    const turned = /Left|Right/.test(event.key) && getComputedStyle(button).direction === "rtl" ? -1 : 1;
    buttons[Math.min(Math.max(i + turned * step[event.key], 0), buttons.length - 1)].focus();
  });
});

const mounts = {};  // kind -> mount(article, data)
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("article").forEach((article, i) => {
    const data = explanations[i], asked = [...article.querySelectorAll(".asked li")];
    for (const part of data.parts) part.map &&= decode(part.map, data.share);
    shade(asked, asked.map((word) => +word.dataset.share), data.unit === "score" ? 0 : HALF);
    mounts[data.kind](article, data);
  });
  set({});
});
