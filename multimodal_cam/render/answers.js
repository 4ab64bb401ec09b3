// answers to choose from and compare; page.js comes first
mounts.answer = (article, data) => {
  const { unit, score, counterfactual, parts, first } = data;
  const find = (selector) => article.querySelector(selector), all = (selector) => [...article.querySelectorAll(selector)];
  const buttons = all("[data-answer]"), select = find(".compare select"), show = stage(article, data);
  const [side, other] = counterfactual ? ["against", "for"] : ["for", "against"];
  const scoreName = score + (counterfactual ? ", sign reversed" : "") + (score.endsWith(unit) ? "" : `, in ${unit}`);
  const titled = (text) => (side === "against" ? `against ${text}` : text);
  const number = (value) => (value === null ? "–" : signed(value));
  const chance = ({ logProb }) => percent(logProb === null ? 0 : Math.exp(logProb));
  let kept = first, shown = first, rival = null;
  const legend = find(".legend").appendChild(Object.assign(element("div"), { className: "sides" }));

  const alone = (part, top) => {
    const said = [];
    if (score === "contrast" && !part.map.cells.some(Boolean)) said.push("Its map is empty: the others are compared with it.");
    else if (strongest(part.map) === 0) said.push(`Nothing in the photo speaks ${side} it: its map is empty.`);
    else if (strongest(part.map) < top / 3) said.push("Faint next to the strongest answer: “Each its own” brings it out.");
    if (Math.abs(part.reliance ?? 1) < 0.25) said.push("Without the photo the model finds it about as likely.");
    const pairs = [["probability", chance(part)], [scoreName, number(part.score)]];
    if (part.reliance !== null) {
      const [nats, , without] = figures(part);
      pairs.splice(1, 0, ["without the photo", without], ["nats from the photo", nats]);
    }
    return {
      map: part.map, boxes: part.boxes, title: titled(part.text), pairs, said: [...said, ...balance(part, data)],
      label: `Heatmap of “${part.text}”: ${strongest(part.map) > 0 ? place(part.map, data) : "empty"}`,
      ends: settings.signed ? [`${other} “${part.text}”`, `${side} “${part.text}”`] : ["", `${side} “${part.text}”`],
    };
  };

  const odds = (one, two) => {
    const [likely, rare] = one.logProb >= two.logProb ? [one, two] : [two, one], times = Math.exp(likely.logProb - rare.logProb);
    if (times < 1.05) return "The model finds both about as likely.";
    return `The model finds “${likely.text}” ${times < 1e4 ? +times.toPrecision(2) : "over 10,000"} times as likely as “${rare.text}”.`;
  };

  const against = (one, two, top) => {
    const map = difference(one.map, two.map), [a, b] = [one.text, two.text];
    const said = [`The map of “${a}” less that of “${b}”: warm speaks ${side} “${a}” rather than “${b}”, blue the other way round.`];
    if (strongest(map) === 0) said.push("The two maps are the same.");
    else if (strongest(map) < top / 3) said.push("Faint next to the maps themselves: “Each its own” brings it out.");
    said.push(odds(one, two));
    return {
      map, title: titled(`${a} rather than ${b}`), said,
      pairs: [["probabilities", `${chance(one)} : ${chance(two)}`],
        [`difference of the scores, in ${unit === "logit" ? "logits" : unit}`, number(one.score === null || two.score === null ? null : one.score - two.score)]],
      label: `Heatmap of “${a}” rather than “${b}”: ` + (strongest(map) === 0 ? "empty" :
        `most ${side} “${a}” ${spot(map, data, (cell, best) => cell > best)}, most ${side} “${b}” ${spot(map, data, (cell, best) => cell < best)}`),
      ends: [`${side} “${b}”`, `${side} “${a}”`],
    };
  };

  const render = () => {
    const compared = rival !== null && rival !== shown, one = parts[shown];
    const common = settings.own ? 0 : Math.max(...parts.map((part) => strongest(part.map)));
    const map = compared ? difference(one.map, parts[rival].map) : one.map, top = Math.max(strongest(map), common);
    const view = compared ? against(one, parts[rival], top) : alone(one, top);
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", i === kept);
      button.classList.toggle("shown", i === shown);
      button.classList.toggle("warm", compared && i === shown);
      button.classList.toggle("cool", compared && i === rival);
      button.querySelector(".role").textContent = i === rival ? "compared with" : "";
    });
    for (const button of all("[data-set=signed]")) {
      button.disabled = compared;
      button.setAttribute("aria-pressed", (compared || settings.signed) === (button.dataset.value === "true"));
    }
    if (select) {
      select.value = rival ?? "";
      for (const option of select.options) option.disabled = option.value === String(kept);
    }
    show(view.map, top, view.label, view.boxes);
    legend.replaceChildren(...view.ends.map((text) => element("span", text)));
    find(".readout h3").textContent = view.title;
    find(".figures").replaceChildren(...rows(view.pairs));
    find(".readout p").textContent = view.said.join(" ");
  };

  const look = (i) => { shown = i; render(); };
  const keep = (i) => { kept = i; rival = rival === i ? null : rival; look(i); };
  const compare = (i) => { rival = i === kept || i === rival ? null : i; look(kept); };
  walk(buttons, {
    show: look,
    back: () => look(kept),
    keep: (i, { shiftKey }) => (shiftKey && select && !select.disabled ? compare(i) : keep(i)),
  });
  select?.addEventListener("change", () => compare(select.value === "" ? rival : +select.value));
  article.addEventListener("keydown", (event) => event.key === "Escape" && rival !== null && compare(rival));
  controls(article, render);
  find("tbody").append(...parts.map((part) => element("tr", "", header(part.text),
    element("td", chance(part)), element("td", `${number(part.score)} ${unit}`))));
};
