// What the page holds, what of it is chosen, and how numbers are written.
const data = JSON.parse(document.getElementById("data").textContent);
const state = {
  facets: {}, // title of a column -> the text that rows and panels must have there; without it all are shown
  words: "",
  hidden: new Set(), // methods
  measures: { epochs: "eval_accuracy", layers: "sparsity_reached" },
};
const views = { tables: [], charts: [] }; // what is called after a change

function changed(...kinds) {
  for (const kind of kinds) for (const view of views[kind]) view();
}

// As lpss-table writes them: .9123, and a dash for what is not known.
function decimals(value, places) {
  return value === null || value === undefined ? "-" : value.toFixed(places).replace(/^(-?)0\./, "$1.");
}
const four = (value) => decimals(value, 4);
const sparsityText = (value) => (value === null ? "-" : String(value).replace(/^0\./, "."));

const methodOf = (cell) => data.methods[cell.method];
const titleOf = (block) => Object.values(data.blocks[block]).join(", ");

// The choices of each column that has several: title -> texts.
function facetsOf() {
  const facets = {};
  for (const block of data.blocks) {
    for (const [title, text] of Object.entries(block)) (facets[title] ??= new Set()).add(text);
  }
  const sparsities = new Set(data.cells.filter((cell) => !methodOf(cell).dense).map((cell) => cell.sparsity));
  facets.Sparsity = new Set([...sparsities].sort((a, b) => a - b).map(sparsityText));
  return Object.fromEntries(Object.entries(facets).filter(([, texts]) => texts.size > 1));
}

// Dense runs stay at every sparsity, as the baseline.
function isChosen(title, text) {
  const wanted = state.facets[title];
  return !wanted || text === wanted || (title === "Sparsity" && text === "0");
}

// The cells to draw: with a number, of a method that is not hidden, where the choices lead.
function chosenCells() {
  return data.cells
    .map((cell, place) => ({ ...cell, place }))
    .filter(
      (cell) =>
        cell.mean !== null &&
        !state.hidden.has(cell.method) &&
        isChosen("Sparsity", methodOf(cell).dense ? "0" : sparsityText(cell.sparsity)) &&
        Object.entries(data.blocks[cell.block]).every(([title, text]) => isChosen(title, text)),
    );
}

function grouped(values, key) {
  const groups = new Map();
  for (const value of values) {
    const name = key(value);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(value);
  }
  return groups;
}
