// words to point at; page.js comes first
mounts.word = (article, data) => {
  const { linear, unit, score, counterfactual, parts, count } = data;
  const find = (selector) => article.querySelector(selector), all = (selector) => [...article.querySelectorAll(selector)];
  const words = parts.slice(0, count), buttons = all("[data-part]"), show = stage(article, data);
  const side = counterfactual ? "against" : "for", isLogProb = score === "log_prob" && !counterfactual;
  let kept = [], shown = [];

  const sum = (chosen, name) => chosen.reduce((all, part) => (all === null || part[name] === null ? null : all + part[name]), 0);
  const combine = (indices) => {  // words, unknown ones left out; a word, a phrase or the whole caption is itself
    const same = parts.find((part) => part.words.join() === indices.join());
    if (same || !indices.length) return same;
    const known = indices.map((i) => words[i]).filter((word) => word.map);
    const sums = Object.fromEntries(["reliance", "logProb", "score", "gap", "unplaced"].map((name) => [name, sum(known, name)]));
    return { text: indices.map((i) => words[i].text).join(" + "), map: total(known.map((word) => word.map)), ...sums,
      boxes: known.flatMap(({ boxes }) => boxes ?? []) };
  };

  const remark = (part, top) => {
    if (!part.map) return "The model does not know this word: it has no map.";
    const said = part.doubtful ? ["Doubtful: people would seldom name it."] : [];
    if (strongest(part.map) === 0) said.push(`Nothing in the photo speaks ${side} it: its map is empty.`);
    else if (isLogProb && Math.abs(part.reliance ?? 1) < 0.25) said.push("The photo hardly changes it: its map means little.");
    else if (strongest(part.map) < top / 3) said.push("Faint next to the strongest word: “Each its own” brings it out.");
    if (shown.some((i) => !words[i].known)) said.push("Words that the model does not know are left out.");
    return [...said, ...balance(part, data)].join(" ");
  };

  const describe = (part, top) => {
    const [nats, withPhoto, without] = figures(part);
    const pairs = [["nats from the photo", nats], ["probability with it", withPhoto], ["without it", without]];
    if (!isLogProb && part.score !== null) pairs.push([`${counterfactual ? "-" : ""}${score}, in ${unit}`, signed(part.score)]);
    find(".readout h3").textContent = part.text;
    find(".figures").replaceChildren(...rows(pairs));
    find(".readout p").textContent = remark(part, top);
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
    if (!part) return;
    const compared = settings.own ? [] : words.filter((word) => word.map).map((word) => strongest(word.map));
    const top = part.map ? Math.max(strongest(part.map), ...compared) : 0;
    show(part.map, top, `Heatmap of “${part.text}”: ` + (part.map && strongest(part.map) > 0 ? place(part.map, data) : "empty"), part.boxes);
    describe(part, top);
  };

  const look = (indices) => { shown = indices; render(); };
  const keep = (indices, add) => {
    const held = indices.every((i) => kept.includes(i)) && (add || kept.length === indices.length);
    const others = add ? kept.filter((i) => !indices.includes(i)) : [];
    kept = (held ? others : [...others, ...indices]).sort((a, b) => a - b);
    look(kept.length ? kept : indices);
  };
  walk(buttons, {
    show: (i) => look(parts[i].words),
    back: () => look(kept.length ? kept : shown),
    keep: (i, { ctrlKey, metaKey, shiftKey }) =>
      keep(parts[i].words, linear && i < count && (settings.adding || ctrlKey || metaKey || shiftKey)),
  });
  const clear = () => { kept = []; render(); };
  find(".clear").addEventListener("click", clear);
  article.addEventListener("keydown", (event) => event.key === "Escape" && clear());
  find("[data-set=adding]").hidden = !linear;
  controls(article, render);

  shade(buttons.slice(0, count), words.map(({ reliance }) => reliance ?? 0), HALF);
  words.forEach(({ known }, i) => known || buttons[i].classList.add("unknown"));
  find("tbody").append(...words.map((word) =>
    element("tr", "", header(word.text), ...figures(word).map((text) => element("td", text)))));
  const first = words.reduce((best, word, i) => (word.map && (best < 0 || word.reliance > words[best].reliance) ? i : best), -1);
  shown = first < 0 ? words.slice(0, 1).map(() => 0) : [first];
};
