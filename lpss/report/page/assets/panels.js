// Which panels each section shows, from the cells that are chosen: { title, draw: (width) => svg }.
const between = ({ mean, std }) => ({ low: mean - std, high: mean + std }); // both the mean where no std is known
const nameOf = (cell) => methodOf(cell).name;
const atSparsity = (cell) => (methodOf(cell).dense ? "" : `, sparsity ${sparsityText(cell.sparsity)}`);

function cellTip(cell) {
  const spread = cell.std === null ? "" : ` ± ${four(cell.std)}`;
  const seeds = cell.runs.slice(0, 8).map((run) => `seed ${data.runs[run][1] ?? "-"}: ${four(data.runs[run][3])}`);
  if (cell.runs.length > 8) seeds.push(`and ${cell.runs.length - 8} more`);
  const time = cell.time === null ? [] : [`time ${decimals(cell.time, 2)} of dense`];
  return [
    `${nameOf(cell)}${atSparsity(cell)}`,
    `accuracy ${four(cell.mean)}${spread}, n = ${cell.runs.length}`,
    cell.missed ? `missed the sparsity: reached ${decimals(cell.reached, 3)}` : `reached ${decimals(cell.reached, 3)}`,
    [`FLOPs ${decimals(cell.flops, 3)} of dense`, ...time, `${decimals(cell.seconds, 1)} s`].join(", "),
    ...(cell.runs.length === 1 ? [data.runs[cell.runs[0]].at(-1)] : [seeds.join("; ")]),
  ];
}

// Panels of a data set at one sparsity, with its dense runs in each: [title, cells].
function bySparsity(cells) {
  return [...grouped(cells, (cell) => cell.block)].flatMap(([block, members]) => {
    const dense = members.filter((cell) => methodOf(cell).dense);
    const sparse = grouped(
      members.filter((cell) => !methodOf(cell).dense),
      (cell) => cell.sparsity,
    );
    if (!sparse.size) return [[titleOf(block), dense]];
    return [...sparse]
      .sort(([a], [b]) => a - b)
      .map(([sparsity, some]) => [`${titleOf(block)}, sparsity ${sparsityText(sparsity)}`, [...dense, ...some]]);
  });
}

function sparsityPanels() {
  return [...grouped(chosenCells(), (cell) => cell.block)].map(([block, cells]) => {
    const dense = cells.filter((cell) => methodOf(cell).dense);
    const sparse = cells.filter((cell) => !methodOf(cell).dense);
    const asked = [...new Set(sparse.map((cell) => cell.sparsity))].sort((a, b) => a - b);
    const title = titleOf(block) + (asked.length === 1 ? `, sparsity ${sparsityText(asked[0])}` : "");
    return {
      title,
      draw: (width) =>
        asked.length > 1 ? overSparsities(width, title, dense, sparse, asked) : listed(width, title, cells),
    };
  });
}

function overSparsities(width, title, dense, sparse, asked) {
  const known = sparse.map((cell) => ({ ...cell, reached: cell.reached ?? cell.sparsity }));
  const series = [...grouped(known, (cell) => cell.method)].map(([method, cells]) => ({
    method: data.methods[method],
    line: "points",
    points: cells
      .sort((a, b) => a.reached - b.reached)
      .map((cell) => ({ x: cell.reached, y: cell.mean, ...between(cell), hollow: cell.missed, tip: cellTip(cell) })),
  }));
  const baselines = dense.map((cell) => ({
    method: methodOf(cell),
    y: cell.mean,
    ...between(cell),
    tip: cellTip(cell),
  }));
  const x = (from, to) => sparsityScale([...known.map((cell) => cell.reached), ...asked], asked, from, to);
  return plot(width, {
    label: `Accuracy against sparsity. ${title}`,
    x,
    titleX: "sparsity reached",
    titleY: "accuracy",
    series,
    baselines,
    aside: 24,
  });
}

function listed(width, title, cells) {
  const rows = cells.map((cell) => ({
    method: methodOf(cell),
    y: cell.mean,
    ...between(cell),
    hollow: cell.missed,
    tip: cellTip(cell),
    runs: cell.runs.map((run) => {
      const [, seed, , accuracy] = data.runs[run];
      return { value: accuracy, tip: [nameOf(cell), `seed ${seed ?? "-"}: ${four(accuracy)}`, data.runs[run].at(-1)] };
    }),
  }));
  return dots(width, { label: `Accuracy by method. ${title}`, rows });
}

// Accuracy against a cost of training: `costOf` a cell, null where it is not known; an axis title that suits the cells.
function costPanels(costOf, titleX) {
  return bySparsity(chosenCells()).flatMap(([title, cells]) => {
    const cost = costOf(cells);
    const known = cells.filter((cell) => cost(cell) > 0);
    if (!known.length) return [];
    const costs = known.map(cost);
    const x = (from, to) => logarithmic(Math.min(...costs) / 1.25, Math.max(...costs) * 1.25, from, to);
    const series = known.map((cell) => ({
      method: methodOf(cell),
      name: methodOf(cell).kind,
      points: [{ x: cost(cell), y: cell.mean, ...between(cell), hollow: cell.missed, tip: cellTip(cell) }],
    }));
    const label = `Accuracy against ${titleX(cells)}. ${title}`;
    return [{ title, draw: (width) => plot(width, { label, x, titleX: titleX(cells), titleY: "accuracy", series }) }];
  });
}

const flopsPanels = () =>
  costPanels(
    () => (cell) => cell.flops,
    () => "training FLOPs, dense = 1",
  );

// Relative to dense where that is known of all, else in seconds.
function timePanels() {
  const relative = (cells) => cells.every((cell) => cell.time !== null);
  const cost = (cells) => (relative(cells) ? (cell) => cell.time : (cell) => cell.seconds);
  return costPanels(cost, (cells) => (relative(cells) ? "training time, dense = 1" : "training time, seconds"));
}

function epochPanels() {
  const measure = state.measures.epochs;
  const curves = new Map(data.epochs.filter((curve) => curve[measure]).map((curve) => [curve.cell, curve]));
  return bySparsity(chosenCells()).flatMap(([title, cells]) => {
    const known = cells.filter((cell) => curves.has(cell.place));
    if (!known.length) return [];
    const series = known.map((cell) => ({
      method: methodOf(cell),
      line: "curve",
      points: curvePoints(cell, curves.get(cell.place), measure),
    }));
    const epochs = series.flatMap((one) => one.points.map((point) => point.x));
    const x = (from, to) => linear(Math.min(...epochs), Math.max(...epochs, Math.min(...epochs) + 1), from, to);
    const floor = measure.endsWith("accuracy") ? floorOf(series) : undefined;
    const label = `${data.measures.epochs[measure]} by epoch. ${title}`;
    return [
      {
        title,
        draw: (width) =>
          plot(width, { label, x, titleX: "epoch", titleY: data.measures.epochs[measure], series, floor }),
      },
    ];
  });
}

function curvePoints(cell, curve, measure) {
  const [mean, low, high] = curve[measure];
  return curve.epochs
    .map((epoch, i) => {
      const range = low ? ` (${four(low[i])} to ${four(high[i])}, n = ${cell.runs.length})` : "";
      const tip = [`${nameOf(cell)}${atSparsity(cell)}`, `epoch ${epoch}: ${four(mean[i])}${range}`];
      return { x: epoch, y: mean[i], low: low?.[i] ?? undefined, high: high?.[i] ?? undefined, tip };
    })
    .filter((point) => point.y !== null);
}

// Accuracy rises fast at first; what matters is the rest: the lowest of the last three quarters of the epochs.
function floorOf(series) {
  const late = series.flatMap((one) =>
    one.points.slice(Math.floor(one.points.length / 4)).map((point) => point.low ?? point.y),
  );
  return Math.min(...late);
}

function layerPanels() {
  const measure = state.measures.layers;
  const profiles = new Map(data.layers.map((profile) => [profile.cell, profile]));
  return bySparsity(chosenCells()).flatMap(([title, cells]) => {
    const shown = (cell) => profiles.has(cell.place) && !(methodOf(cell).dense && measure === "sparsity_reached");
    const known = cells.filter(shown);
    const names = [...new Set(known.flatMap((cell) => profiles.get(cell.place).names))];
    if (!names.length) return [];
    const series = known.map((cell) => {
      const profile = profiles.get(cell.place);
      const points = profile.names.map((name, i) => ({
        x: names.indexOf(name),
        y: profile[measure][i],
        tip: [nameOf(cell), `${name}: ${decimals(profile[measure][i], 3)}`],
      }));
      return { method: methodOf(cell), line: "points", points: points.filter((point) => point.y !== null) };
    });
    const label = `${data.measures.layers[measure]} by layer. ${title}`;
    const x = (from, to) => nominal(names, from, to);
    return [
      {
        title,
        draw: (width) =>
          plot(width, {
            label,
            x,
            titleX: "layer, input to output",
            titleY: data.measures.layers[measure],
            series,
            aside: width / names.length / 3,
          }),
      },
    ];
  });
}

const rankPanels = (place) =>
  data.ranks[place].map((ranking) => ({ title: ranking.title, draw: (width) => rankDiagram(width, ranking) }));

const PANELS = {
  sparsity: sparsityPanels,
  flops: flopsPanels,
  time: timePanels,
  epochs: epochPanels,
  layers: layerPanels,
  ranks: rankPanels,
};
