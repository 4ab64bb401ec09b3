"use strict";
{
  const { study, questions, lists, pictures } = JSON.parse(document.getElementById("data").textContent);
  const TOO_SOON = 150;  // milliseconds: the second half of a double click is no answer to the next question
  const find = (selector) => document.querySelector(selector);
  const start = find("#start"), field = find("#rater"), asked = find("#question"), end = find("#end");
  let rater = 0, order = [], at = 0, since = 0, session = null;

  // ---- what the browser keeps: a session for each rater --------------------------------------------------------------

  const place = (number) => `multimodal-cam human study ${study} ${number}`;
  const read = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const write = (key, value) => { try { localStorage.setItem(key, value); return true; } catch { return false; } };
  const kept = (number) => { try { return JSON.parse(read(place(number))); } catch { return null; } };
  const keep = () => { find("#not-kept").hidden = write(place(rater), JSON.stringify(session)); };

  // ---- who sees what: a rater's list and order follow from the number ------------------------------------------------

  const seeded = (text) => {  // mulberry32 over a hash of the text (FNV-1a)
    let state = [...text].reduce((hash, character) => Math.imul(hash ^ character.codePointAt(0), 16777619), 2166136261);
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  };
  const shuffled = (list, random) => {
    const all = [...list];
    for (let i = all.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all;
  };
  const listOf = (number) => (number - 1) % lists.length;
  const isTurned = (number) => Math.floor((number - 1) / lists.length) % 2 === 1;  // every second round of raters sees two answers the other way round
  const choices = (id) => {  // indices of the options from left to right
    const all = questions[id].options.map((_, i) => i);
    return all.length === 2 && isTurned(rater) ? all.reverse() : all;
  };

  // ---- the questions -------------------------------------------------------------------------------------------------

  const element = (name, values, ...children) => {
    const made = Object.assign(document.createElement(name), values);
    made.append(...children);
    return made;
  };
  const view = (section) => { for (const one of [start, asked, end]) one.hidden = one !== section; };
  const count = () => Object.keys(session.answers).length;

  const show = () => {
    if (at >= order.length) { finish(); return; }
    const id = order[at], { prompt, pictures: shown, options } = questions[id], before = session.answers[id];
    view(asked);
    find("#question h2").textContent = prompt;
    find(".course span").textContent = `${at + 1} of ${order.length}`;
    find("progress").value = at / order.length;
    find(".pictures").replaceChildren(...shown.map((picture, i) => {
      const name = shown.length > 1 ? "AB"[i] : "";
      const image = element("img", { src: `data:image/jpeg;base64,${pictures[picture]}`, alt: name ? `The photo with the colours of ${name}` : "The photo, with its colours" });
      return element("figure", {}, image, ...(name ? [element("figcaption", { textContent: name })] : []));
    }));
    find(".options").replaceChildren(...choices(id).map((choice, position) => {
      const button = element("button", { type: "button" }, element("kbd", { textContent: position + 1, ariaHidden: "true" }), options[choice]);
      button.setAttribute("aria-pressed", before?.choice === choice);
      button.addEventListener("click", () => answer(position));
      return button;
    }));
    find("#back").disabled = at === 0;
    find("#question h2").focus({ preventScroll: true });
    scrollTo(0, 0);
    since = performance.now();
  };

  const answer = (position) => {
    const milliseconds = Math.round(performance.now() - since), id = order[at], choice = choices(id)[position];
    if (choice === undefined || milliseconds < TOO_SOON) return;
    session.answers[id] = { choice, position, milliseconds };
    at += 1;
    keep();
    show();
  };
  const back = () => { if (at > 0) { at -= 1; show(); } };

  const record = () => JSON.stringify({
    format: 1, study, rater, list: listOf(rater), started: session.started, saved: new Date().toISOString(), complete: count() === order.length,
    answers: order.filter((id) => id in session.answers).map((id) => ({ question: id, ...session.answers[id] })),
  });
  const save = () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([record()], { type: "application/json" })), download: `answers-${rater}.json` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    find(".saved").textContent = `Saved as answers-${rater}.json, where this browser keeps downloads.`;
  };
  const finish = () => {
    view(end);
    find("textarea").value = record();
    find(".saved").textContent = "";
    find("#end h2").focus();
  };

  // ---- start, and going on -------------------------------------------------------------------------------------------

  const say = () => {
    const there = kept(+field.value), done = there ? Object.keys(there.answers).length : 0;
    find("#progress-kept").value = done ? `${done} of ${lists[listOf(+field.value)].length} questions are answered already: you go on there.` : "";
    find("#start button").textContent = done ? "Go on" : "Start";
  };
  const given = () => /^#rater=(\d{1,6})$/.exec(location.hash)?.[1];
  const open = () => {
    field.value = given() ?? read(place("last")) ?? 1 + Math.floor(Math.random() * 999999);
    find("#not-kept").hidden = write(place("tried"), "1");
    view(start);
    say();
  };

  start.addEventListener("submit", (event) => {
    event.preventDefault();
    rater = +field.value;
    session = kept(rater) ?? { started: new Date().toISOString(), answers: {} };
    order = shuffled(lists[listOf(rater)], seeded(`${study} ${rater}`));
    at = order.findIndex((id) => !(id in session.answers));
    if (at < 0) at = order.length;
    write(place("last"), String(rater));
    keep();
    show();
  });
  field.addEventListener("input", say);
  find("#back").addEventListener("click", back);
  find("#review").addEventListener("click", back);
  for (const button of document.querySelectorAll(".save")) button.addEventListener("click", save);
  addEventListener("hashchange", open);
  document.addEventListener("keydown", (event) => {
    if (asked.hidden || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
    const two = find(".options").children.length === 2;
    const position = { ArrowLeft: two ? 0 : -1, ArrowRight: two ? 1 : -1 }[event.key] ?? "123456789".indexOf(event.key || "-");
    if (event.key === "Backspace") back();
    else if (position >= 0) answer(position);
    else return;
    event.preventDefault();
  });

  document.documentElement.classList.add("scripted");
  open();
}
