// Tables that are sorted by their headers, filtered by what is chosen and typed, and shown a page at a time.
const PAGE = 100;
const NUMBER = /^[(<\s]*([+\-−]?(?:\d[\d,]*)?\.?\d+(?:e[+-]?\d+)?)/;

// The number that a cell starts with: ".9747 ± .0050", "(.9900)", "+2.00 to +3.00", "< .001"; NaN for none.
function leading(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replace(/,/g, "").replace("−", "-")) : NaN;
}

const isEmpty = (text) => text === "" || text === "-";
const isNumber = (text) => !Number.isNaN(leading(text));

// The rows in a column's order: by size in a column of numbers, else by name. Cells that are empty, or words among
// numbers (diverged), come last either way.
function ordered(rows, column, numeric, direction) {
  const isBlank = ({ texts }) => isEmpty(texts[column]) || (numeric && !isNumber(texts[column]));
  const compare = (a, b) => {
    const by = numeric ? leading(a) - leading(b) : 0;
    return by || a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" });
  };
  const known = rows.filter((row) => !isBlank(row));
  known.sort((a, b) => direction * compare(a.texts[column], b.texts[column]));
  return [...known, ...rows.filter(isBlank)];
}

class DataTable {
  // rows: { texts, element: () => tr }
  constructor(table, rows) {
    this.table = table;
    this.rows = rows;
    this.sorted = rows;
    this.page = 0;
    this.heads = [...table.tHead.rows[0].cells];
    this.titles = this.heads.map((head) => head.textContent.trim());
    this.heads.forEach((head, column) => {
      const button = html("button", { type: "button", onclick: () => this.sort(column) }, ...head.childNodes);
      head.replaceChildren(button);
    });
    this.foot = html("div", { class: "pages" });
    table.parentElement.after(this.foot);
    views.tables.push(() => this.show(0));
  }

  // Ascending, then descending, then as it was.
  sort(column) {
    const head = this.heads[column];
    const next = { none: "ascending", ascending: "descending", descending: "none" }[
      head.getAttribute("aria-sort") ?? "none"
    ];
    for (const other of this.heads) other.removeAttribute("aria-sort");
    if (next !== "none") head.setAttribute("aria-sort", next);
    this.sorted =
      next === "none" ? this.rows : ordered(this.rows, column, this.isNumeric(column), next === "ascending" ? 1 : -1);
    this.show(0);
  }

  // Whether all cells are numbers; in a column that is written as numbers some may be words.
  isNumeric(column) {
    const texts = this.rows.map((row) => row.texts[column]);
    const isNumbers = this.heads[column].classList.contains("number");
    return isNumbers ? texts.some(isNumber) : texts.every((text) => isEmpty(text) || isNumber(text));
  }

  isWanted(row) {
    const text = row.texts.join(" ").toLowerCase();
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => text.includes(word)) && this.titles.every((title, i) => isChosen(title, row.texts[i]));
  }

  show(page) {
    const wanted = this.sorted.filter((row) => this.isWanted(row));
    const size = this.whole ? wanted.length : PAGE;
    this.page = page;
    const shown = wanted.slice(page * size, (page + 1) * size);
    const none = html("tr", {}, html("td", { colspan: this.titles.length, class: "none" }, "No row has all of this."));
    this.table.tBodies[0].replaceChildren(...(shown.length ? shown.map((row) => row.element()) : [none]));
    this.foot.replaceChildren(...this.steps(wanted.length, size));
  }

  steps(count, size) {
    const from = this.page * size;
    const many = count === this.rows.length ? `${count} rows` : `${count} of ${this.rows.length} rows`;
    if (count <= size) return this.rows.length > 12 || count < this.rows.length ? [many] : [];
    const step = (words, page, off) =>
      html("button", { type: "button", disabled: off, onclick: () => this.show(page) }, words);
    const whole = () => {
      this.whole = true;
      this.show(0);
    };
    return [
      step("‹ Back", this.page - 1, this.page === 0),
      `${from + 1} to ${Math.min(count, from + size)} of ${many}`,
      step("Next ›", this.page + 1, from + size >= count),
      html("button", { type: "button", onclick: whole }, "All"),
    ];
  }
}

// Of a table that is there: its rows are kept as they are.
function sortable(table) {
  const rows = [...table.tBodies[0].rows].map((row) => ({
    texts: [...row.cells].map((cell) => cell.textContent.trim()),
    element: () => row,
  }));
  return new DataTable(table, rows);
}
