"use strict";
{
  const { colour, explanations } = JSON.parse(document.getElementById("data").textContent);
  // pointing shows a word at once, so a click can add; where nothing can be pointed with, a tap is the only way to look
  const settings = { own: false, signed: false, adding: matchMedia("(hover: hover)").matches, opacity: colour.opacity };
  const views = [];
  document.documentElement.classList.add("scripted");

  // ---- maps and colours ---------------------------------------------------------------------------------------------

  const decode = ({ rows, columns, step, grid }) => {
    const bytes = Uint8Array.from(atob(grid), (character) => character.charCodeAt(0));
    return { rows, columns, cells: Float64Array.from(new Int16Array(bytes.buffer), (level) => level * step) };
  };
  const total = (maps) => maps.length && { ...maps[0], cells: maps[0].cells.map((_, i) => maps.reduce((sum, map) => sum + map.cells[i], 0)) };
  const strength = (cell) => (settings.signed ? Math.abs(cell) : Math.max(cell, 0));
  const strongest = (map) => map.cells.reduce((top, cell) => Math.max(top, strength(cell)), 0);

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

  const draw = (canvas, map, frame, top) => {
    const context = canvas.getContext("2d"), picture = context.createImageData(canvas.width, canvas.height);
    if (map && top > 0) {
      const cells = map.cells.map((cell) => (settings.signed ? cell : Math.max(cell, 0)) / top);
      const xs = taps(canvas.width, map.columns, frame[0], frame[2]), ys = taps(canvas.height, map.rows, frame[1], frame[3]);
      ys.forEach((y, row) => y && xs.forEach((x, column) => {
        if (!x) return;
        const at = (line) => { const i = line * map.columns; return cells[i + x[0]] * (1 - x[2]) + cells[i + x[1]] * x[2]; };
        const value = Math.min(Math.max(at(y[0]) * (1 - y[2]) + at(y[1]) * y[2], -1), 1);
        picture.data.set(palette[Math.round((value + 1) * LEVELS)], 4 * (row * canvas.width + column));
      }));
    }
    context.putImageData(picture, 0, 0);
  };

  const place = (map, frame) => {
    const peak = map.cells.reduce((best, cell, i) => (strength(cell) > strength(map.cells[best]) ? i : best), 0);
    const across = frame[0] + (frame[2] - frame[0]) * ((peak % map.columns) + 0.5) / map.columns;
    const down = frame[1] + (frame[3] - frame[1]) * (Math.floor(peak / map.columns) + 0.5) / map.rows;
    return `strongest ${Math.round(100 * across)} % from the left and ${Math.round(100 * down)} % from the top`;
  };

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
  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };

  // ---- one explanation ----------------------------------------------------------------------------------------------

  const mount = (article, { frame, linear, unit, score, parts, count }) => {
    const find = (selector) => article.querySelector(selector), all = (selector) => [...article.querySelectorAll(selector)];
    for (const part of parts) part.map &&= decode(part.map);
    const words = parts.slice(0, count), buttons = all("[data-part]");
    const canvas = find(".stage canvas"), image = find(".stage img");
    let kept = [], shown = [];

    const sum = (chosen, name) => chosen.reduce((all, part) => (all === null || part[name] === null ? null : all + part[name]), 0);
    const combine = (indices) => {  // words, unknown ones left out; a word, a phrase or the whole caption is itself
      const same = parts.find((part) => part.words.join() === indices.join());
      if (same || !indices.length) return same;
      const known = indices.map((i) => words[i]).filter((word) => word.map);
      const sums = Object.fromEntries(["reliance", "logProb", "score", "gap", "unplaced"].map((name) => [name, sum(known, name)]));
      return { text: indices.map((i) => words[i].text).join(" + "), map: total(known.map((word) => word.map)), ...sums };
    };

    const remark = (part, top) => {
      if (!part.map) return "The model does not know this word: it has no map.";
      const said = [];
      if (strongest(part.map) === 0) said.push("Nothing in the photo speaks for it: its map is empty.");
      else if (score === "log_prob" && Math.abs(part.reliance ?? 1) < 0.25) said.push("The photo hardly changes it: its map means little.");
      else if (strongest(part.map) < top / 3) said.push("Faint next to the strongest word: “Each its own” brings it out.");
      if (shown.some((i) => !words[i].known)) said.push("Words that the model does not know are left out.");
      if (part.gap !== null) {
        const what = score === "log_prob" ? "these nats" : `the change of the ${score}`;
        said.push(`The map adds up to ${what} within ${short(Math.max(Math.abs(part.gap), 0.001))} ${unit}.`);
      }
      if (Math.abs(part.unplaced) > 0.005) said.push(`${signed(part.unplaced)} ${unit} came from no place in particular.`);
      return said.join(" ");
    };

    const describe = (part, top) => {
      const [nats, withPhoto, without] = figures(part);
      const rows = [["nats from the photo", nats], ["probability with it", withPhoto], ["without it", without]];
      if (score !== "log_prob" && part.score !== null) rows.push([`${score}, in ${unit}`, signed(part.score)]);
      find(".readout h3").textContent = part.text;
      find(".figures").replaceChildren(...rows.map(([name, value]) => element("div", "", element("dt", name), element("dd", value))));
      find(".readout p").textContent = remark(part, top);
    };

    const legend = (top) => {
      const context = find(".legend canvas").getContext("2d"), strip = context.createImageData(256, 1);
      for (let i = 0; i < 256; i++) strip.data.set(paint(settings.signed ? i / 127.5 - 1 : i / 255), 4 * i);
      context.putImageData(strip, 0, 0);
      const texts = settings.signed ? [`−${short(top)}`, "0", `+${short(top)}`] : ["0", "", short(top)];
      find(".legend div").replaceChildren(...texts.map((text, i) => element("span", i < 2 ? text : `${text} ${unit} a cell`)));
    };

    const render = () => {
      const part = combine(shown);
      for (const button of buttons) {
        const own = parts[button.dataset.part].words, within = (list) => own.every((i) => list.includes(i));
        const exact = button.dataset.part < count ? within : (list) => within(list) && list.length === own.length;
        button.setAttribute("aria-pressed", exact(kept));
        button.classList.toggle("shown", exact(shown));
      }
      find(".clear").disabled = !kept.length;
      for (const button of all("[data-set]")) {
        const { set, value } = button.dataset;
        button.setAttribute("aria-pressed", value === undefined ? settings[set] : String(settings[set]) === value);
      }
      find("input").value = settings.opacity;
      canvas.style.opacity = settings.opacity;
      if (!part) return;
      const compared = settings.own ? [] : words.filter((word) => word.map).map((word) => strongest(word.map));
      const top = part.map ? Math.max(strongest(part.map), ...compared) : 0;
      draw(canvas, part.map, frame, top);
      canvas.setAttribute("aria-label", `Heatmap of “${part.text}”: ` + (part.map && strongest(part.map) > 0 ? place(part.map, frame) : "empty"));
      describe(part, top);
      legend(top);
    };

    const show = (indices) => { shown = indices; render(); };
    const back = () => show(kept.length ? kept : shown);
    const keep = (indices, add) => {
      const held = indices.every((i) => kept.includes(i)) && (add || kept.length === indices.length);
      const others = add ? kept.filter((i) => !indices.includes(i)) : [];
      kept = (held ? others : [...others, ...indices]).sort((a, b) => a - b);
      show(kept.length ? kept : indices);
    };

    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    buttons.forEach((button, i) => {
      const own = parts[i].words;
      button.tabIndex = i ? -1 : 0;
      button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && show(own));
      button.addEventListener("pointerleave", back);
      button.addEventListener("focus", () => {
        buttons.forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
        show(own);
      });
      button.addEventListener("blur", back);
      button.addEventListener("click", (event) => {
        const asked = event.ctrlKey || event.metaKey || event.shiftKey;
        keep(own, linear && i < count && (settings.adding || asked));
      });
      button.addEventListener("keydown", (event) => {
        if (!(event.key in step) || event.altKey || event.ctrlKey || event.metaKey) return;  // Alt and an arrow go back a page
        event.preventDefault();
        const turned = /Left|Right/.test(event.key) && getComputedStyle(button).direction === "rtl" ? -1 : 1;
        buttons[Math.min(Math.max(i + turned * step[event.key], 0), buttons.length - 1)].focus();
      });
    });

    const set = (change) => { Object.assign(settings, change); views.forEach((redraw) => redraw()); };
    for (const button of all("[data-set]")) {
      const { set: name, value } = button.dataset;
      button.addEventListener("click", () => set({ [name]: value === undefined ? !settings[name] : value === "true" }));
    }
    const clear = () => { kept = []; render(); };
    find("input").addEventListener("input", (event) => set({ opacity: +event.target.value }));
    find(".clear").addEventListener("click", clear);
    article.addEventListener("keydown", (event) => event.key === "Escape" && clear());
    find("[data-set=adding]").hidden = !linear;

    const most = words.reduce((top, word) => Math.max(top, Math.abs(word.reliance ?? 0)), 0.5);  // half a nat is never a strong shade
    words.forEach(({ known, reliance }, i) => {
      buttons[i].classList.add(!known ? "unknown" : reliance < 0 ? "cool" : "warm");
      if (known) buttons[i].style.setProperty("--shade", `${100 * Math.abs(reliance ?? 0) / most}%`);
    });
    find("tbody").append(...words.map((word) => {
      const head = element("th", word.text);
      head.scope = "row";
      return element("tr", "", head, ...figures(word).map((text) => element("td", text)));
    }));

    const ratio = image.getAttribute("width") / image.getAttribute("height"), side = 480;
    find(".stage").style.setProperty("--ratio", ratio);
    canvas.width = Math.max(1, Math.round(side * Math.min(1, ratio)));
    canvas.height = Math.max(1, Math.round(side * Math.min(1, 1 / ratio)));
    views.push(render);
    const first = words.reduce((best, word, i) => (word.map && (best < 0 || word.reliance > words[best].reliance) ? i : best), -1);
    show(first < 0 ? words.slice(0, 1).map(() => 0) : [first]);
  };

  document.querySelectorAll("article").forEach((article, i) => mount(article, explanations[i]));
}
