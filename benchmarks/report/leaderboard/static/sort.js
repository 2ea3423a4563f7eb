// Makes the heads of tables sort. Without this file the tables stand in the order in which they were written.
"use strict";

const keyOf = (row, column) => {
  const cell = row.cells[column];
  return (cell.dataset.sort ?? cell.textContent).trim();
};

function comparison(keys) {
  const numeric = keys.every((key) => key === "" || Number.isFinite(Number(key)));
  return numeric
    ? (a, b) => Number(a) - Number(b)
    : (a, b) => a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
}

function sortBy(table, head) {
  const [column, body] = [head.cellIndex, table.tBodies[0]];
  const first = head.dataset.first ?? "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
  const compare = comparison(rows.map(([key]) => key));
  const sign = direction === "ascending" ? 1 : -1;
  // Missing values stay last in both directions.
  rows.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
  body.append(...rows.map(([, row]) => row));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const label = head.querySelector(".label");
    if (!label) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...label.childNodes);
    label.append(button);
    button.addEventListener("click", () => sortBy(table, head));
  }
}
