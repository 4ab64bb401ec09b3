"use strict";
{
  const SHOWN = 200;  // cards at once: the others follow at the press of a button
  const field = document.getElementById("filter"), count = document.getElementById("count"), list = document.getElementById("cards");
  const more = document.getElementById("more"), own = [...list.children], navigation = document.querySelectorAll("nav");
  let entries = null, texts = [], most = SHOWN;

  const element = (name, values, ...children) => {
    const made = Object.assign(document.createElement(name), values);
    made.append(...children);
    return made;
  };
  const card = ([folder, text, question, image]) => {
    const place = encodeURIComponent(folder), said = element("strong", {}, question ? element("q", { textContent: question }) : "", ` ${text || "(no words)"}`);
    const picture = element("img", { loading: "lazy", alt: "", src: `${place}/${list.dataset.thumbnail}` });
    return element("li", {}, element("a", { href: `${place}/${list.dataset.page}` }, picture, said, element("small", { textContent: image })));
  };

  const load = () => {  // what all cards say, of this and the other pages: only a filter needs it
    if (document.querySelector("script[src]")) return;
    const script = element("script", { src: list.dataset.entries });
    script.addEventListener("load", () => {
      ({ entries } = window.explanationIndex);
      texts = entries.map(([, text, question, image]) => `${question} ${text} ${image}`.toLowerCase());
      show();
    });
    script.addEventListener("error", () => { count.value = `The filter needs ${list.dataset.entries}, which is not beside this page.`; });
    document.head.append(script);
  };

  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    navigation.forEach((one) => { one.hidden = words.length > 0; });
    history.replaceState(null, "", words.length ? `#show=${encodeURIComponent(field.value)}` : location.hash.replace(/^#show=.*/, "#"));
    if (words.length && !entries) { count.value = "…"; load(); return; }
    const found = words.length ? entries.filter((_, i) => words.every((word) => texts[i].includes(word))) : [];
    count.value = words.length ? `${found.length.toLocaleString("en")} of ${entries.length.toLocaleString("en")}` : "";
    list.replaceChildren(...(words.length ? found.slice(0, most).map(card) : own));
    more.hidden = found.length <= most;
  };

  // arrow keys walk along the cards: left and right by one, up and down by a row
  const steps = () => {
    const tops = [...list.children].map((one) => one.offsetTop), columns = Math.max(tops.findIndex((top) => top !== tops[0]), 1);
    return { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -Infinity, End: Infinity };
  };
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const links = [...list.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (event.target === field ? event.key !== "ArrowDown" : !(event.key in steps())) return;
    if (at < 0 && event.target !== field && event.target !== document.body) return;
    if (at < 0 && event.target === document.body && !/Right|Left/.test(event.key)) return;  // the page scrolls
    event.preventDefault();
    links[at < 0 ? 0 : Math.min(Math.max(at + steps()[event.key], 0), links.length - 1)]?.focus();
  });

  document.documentElement.classList.add("scripted");
  field.addEventListener("input", () => { most = SHOWN; show(); });
  more.addEventListener("click", () => { most += SHOWN; show(); });
  if (location.hash.startsWith("#show=")) field.value = decodeURIComponent(location.hash.slice(6));
  if (field.value) show();  // a browser that goes back keeps what was typed
}
