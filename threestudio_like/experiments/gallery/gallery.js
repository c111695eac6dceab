"use strict";
// Filters and sorts a gallery's cards.

const bar = document.querySelector(".bar"), list = document.querySelector(".cards"), count = bar.querySelector("output");
const sort = bar.elements.sort, better = new Map(figures.map((one) => [one.name, one.better]));

function ticked(name) {
  return new Set([...bar.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value));
}

function filter() {
  const methods = ticked("method"), statuses = ticked("status"), words = bar.elements.search.value.toLowerCase().split(/\s+/);
  let left = 0;
  for (const card of cards) {
    const { title, method, status, folder } = card.dataset, text = `${title} ${method} ${folder}`.toLowerCase();
    card.hidden = !((!methods.size || methods.has(method)) && (!statuses.size || statuses.has(status)) && words.every((word) => text.includes(word)));
    left += !card.hidden;
  }
  count.value = left === cards.length ? `${left} results` : `${left} of ${cards.length} results`;
}

/** Orders the cards by what is chosen, the best first; those without the figure are last either way. */
function order() {
  const chosen = sort.value, backwards = bar.elements.backwards.checked ? -1 : 1;
  const place = new Map(cards.map((card, i) => [card, i]));
  const key = (card) => {
    if (chosen === "folder") return place.get(card);
    if (chosen === "title") return card.dataset.title;
    if (chosen === "newest") return -dataOf.get(card).modified;
    const value = dataOf.get(card).figures[chosen]?.[0];
    return value === undefined ? undefined : better.get(chosen) === "lower" ? value : -value;
  };
  const keyed = cards.map((card) => [key(card), card]);
  keyed.sort(([a, one], [b, other]) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || place.get(one) - place.get(other);
    return backwards * (typeof a === "string" ? a.localeCompare(b) : a - b) || place.get(one) - place.get(other);
  });
  list.append(...keyed.map(([, card]) => card));
  for (const card of cards) mark(card, chosen);
}

/** Shows on a card the figure that the cards are sorted by, on a line of its own where it had none. */
function mark(card, name) {
  card.querySelector(".sorted.added")?.remove();
  for (const line of card.querySelectorAll("[data-figure]")) line.classList.toggle("sorted", line.dataset.figure === name);
  const own = dataOf.get(card).figures[name];
  if (!own || card.querySelector(".sorted")) return;
  const line = element("div", "", "sorted added");
  line.append(element("dt", figures.find((one) => one.name === name).title), element("dd", own[1]));
  const table = card.querySelector(".few") ?? card.insertBefore(element("dl", "", "few"), card.querySelector(".links"));
  table.append(line);
}

bar.addEventListener("submit", (event) => event.preventDefault());
bar.addEventListener("input", (event) => { filter(); if (event.target === sort || event.target.name === "backwards") order(); });
filter();
