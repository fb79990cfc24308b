"use strict";
// Sorting and filtering of every table with more than one line, and links that open what they lead to.
(() => {
  const EMPTY = new Set(["", "–", "missing"]);

  // A cell's first number if it has one ("−0.31 ± 0.53" is -0.31, "27,648" is 27648), else its words.
  function key(cell, words) {
    const text = cell.innerText.trim();
    if (EMPTY.has(text)) return null;
    if (words) return text;
    const found = text.replaceAll("−", "-").replaceAll(",", "").match(/[+-]?\d+(\.\d+)?/);
    return found ? Number(found[0]) : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  // Nothing to compare stays below in both directions.
  function sort(table, column, direction) {
    const body = table.tBodies[0], words = table.tHead.rows[0].cells[column].classList.contains("words") || column === 0;
    const keyed = [...body.rows].map((row) => ({ row, key: key(row.cells[column], words), place: Number(row.dataset.place) }));
    const sign = direction === "descending" ? -1 : 1;
    keyed.sort((a, b) => {
      if (direction === "none") return a.place - b.place;
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      return sign * compare(a.key, b.key) || a.place - b.place;
    });
    body.append(...keyed.map((each) => each.row));
  }

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  function makeSortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const direction = NEXT[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", other === head ? direction : "none"));
        sort(table, column, direction);
      });
    });
  }

  function makeFilterable(region, table, number) {
    // as they look at first: what a row opens to, such as the hashes of its trials, is not searched
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, text: row.innerText.toLowerCase() }));
    const box = document.createElement("div");
    box.className = "filter";
    box.innerHTML = `<label for="filter-${number}">Filter</label>
      <input type="search" id="filter-${number}" placeholder="words, all of them" aria-controls="table-${number}">
      <output for="filter-${number}" aria-live="polite"></output>`;
    table.id = `table-${number}`;
    const [input, output] = [box.querySelector("input"), box.querySelector("output")];
    input.setAttribute("aria-label", `Filter: ${region.getAttribute("aria-label")}`);
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const { row, text } of rows) {
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      output.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
    });
    region.before(box);
  }

  [...document.querySelectorAll("div.wide")].forEach((region, number) => {
    const table = region.querySelector("table");
    if (table.tBodies[0].rows.length < 2 || table.matches(".plain, .sums")) return;
    makeSortable(table);
    if (table.tBodies[0].rows.length > 4) makeFilterable(region, table, number);
  });

  for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;

  // A link to a trial opens it; the focus goes there, so that the keyboard goes on from it.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.matches("details")) target.open = true;
    if (target.matches("section.row")) {
      const trials = target.querySelectorAll("details.trial");
      if (trials.length === 1) trials[0].open = true;
    }
    const focus = target.querySelector("summary") ?? target;
    focus.focus({ preventScroll: true });
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();
})();
