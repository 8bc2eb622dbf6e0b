// The table of all runs, made from the data.
function runTexts([cell, seed, status, last, best, epoch, reached, flops, seconds, folder]) {
  const of = data.cells[cell];
  return [
    ...Object.values(data.blocks[of.block]),
    methodOf(of).dense ? "0" : sparsityText(of.sparsity),
    methodOf(of).name,
    ...[seed, status, four(last), four(best), epoch].map((value) => String(value ?? "-")),
    decimals(reached, 3),
    decimals(flops, 3),
    decimals(seconds, 1),
    folder,
  ];
}

function listRuns(table) {
  const titles = [...Object.keys(data.blocks[0]), "Sparsity", "Method", "Seed", "Status"];
  const numeric = ["Accuracy", "Best", "Best epoch", "Reached", "Train FLOPs", "Seconds"];
  const headers = [...titles, ...numeric, "Folder"];
  const isNumber = (i) => i >= titles.length && i < titles.length + numeric.length;
  table.tHead.append(
    html("tr", {}, ...headers.map((title, i) => html("th", { class: isNumber(i) && "number", scope: "col" }, title))),
  );
  const rows = data.runs.map((run) => {
    const texts = runTexts(run);
    const cells = () => texts.map((text, i) => html("td", { class: isNumber(i) && "number" }, text));
    return { texts, element: () => html("tr", {}, ...cells()) };
  });
  return new DataTable(table, rows);
}
