"use strict";
{
  const field = document.getElementById("filter"), count = document.getElementById("count");
  const cards = [...document.querySelectorAll("#cards > li")].map((card) => [card, card.textContent.toLowerCase()]);
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [card, text] of cards) {
      card.hidden = !words.every((word) => text.includes(word));
      shown += !card.hidden;
    }
    count.value = words.length ? `${shown} of ${cards.length} ${count.dataset.where}` : "";
  };
  document.documentElement.classList.add("scripted");
  field.addEventListener("input", show);
  show();  // a browser that goes back keeps what was typed
}
