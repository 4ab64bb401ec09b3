// links to the explanations before and after this one in its batch, once the index of the batch is there; page.js comes first
{
  const bar = document.querySelector("nav.batch"), [all, before, after] = bar.querySelectorAll("a");
  const lead = (link, entry) => {
    if (!entry) return;
    const [folder, text, question, image] = entry;
    Object.assign(link, { href: `../${encodeURIComponent(folder)}/index.html`, title: `${image}: ${question ? `${question} ` : ""}${text}`, hidden: false });
  };
  const script = document.createElement("script");
  script.src = bar.dataset.entries;
  script.addEventListener("load", () => {
    const { entries, pageSize } = window.explanationIndex, own = decodeURIComponent(location.pathname.split("/").at(-2)).normalize();
    const at = entries.findIndex(([folder]) => folder.normalize() === own);
    if (at < 0) return;
    lead(before, entries[at - 1]);
    lead(after, entries[at + 1]);
    const page = Math.floor(at / pageSize) + 1;
    if (pageSize) all.href = `../index${page > 1 ? `-${page}` : ""}.html#e${at + 1}`;
    bar.querySelector("span").textContent = `${(at + 1).toLocaleString("en")} of ${entries.length.toLocaleString("en")}`;
  });
  document.head.append(script);
  document.addEventListener("keydown", (event) => {  // where no word, slider or list takes the key
    const link = { ArrowLeft: before, ArrowRight: after }[event.key];
    if (!link || link.hidden || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (!event.target.closest("button, input, select, summary, .scroll")) link.click();
  });
}
