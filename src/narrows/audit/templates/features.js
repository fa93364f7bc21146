"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const box = by("features"), cards = [...box.children];
  const entries = cards.map((card, index) => ({ card, index, ...card.dataset }));
  const key = { energy: (c) => +c.energy, density: (c) => +c.density, largest: (c) => +c.largest, id: (c) => +c.id };
  const wanted = (c, query, mark) =>
    (!mark || c.mark === mark) &&
    (!query || (/^\d+$/.test(query) && c.id === query) || ` ${c.words} `.includes(/^\s|\s$/.test(query) ? query : query.trim()));
  const update = () => {
    const query = by("query").value.toLowerCase(), mark = by("mark").value, sort = by("sort").value;
    const name = sort.replace("-", ""), sign = sort.startsWith("-") ? -1 : 1;
    const order = [...entries].sort((a, b) => (name && sign * (key[name](a) - key[name](b))) || a.index - b.index);
    let count = 0;
    for (const c of order) {
      c.card.hidden = !wanted(c, query.trim() ? query : "", mark);
      count += !c.card.hidden;
      box.append(c.card);
    }
    by("count").textContent = `${count} of ${entries.length}`;
  };
  by("controls").hidden = false;
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["query", "sort", "mark"]) by(id).addEventListener("input", update);
  update();
})();
