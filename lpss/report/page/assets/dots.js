// A chart that lists methods, the best on top: mean and standard deviation, and a dot for each run.
const ROW = 22;
const MOST_ROWS = 30;
const LETTER = 6.8; // pixels of a name's letter
const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

// spec: { label, rows: [{ method, y, low, high, hollow, tip, runs: [{ value, tip }] }] }, y: the mean.
function dots(width, spec) {
  const rows = [...spec.rows].sort((a, b) => b.y - a.y).slice(0, MOST_ROWS);
  const length = Math.floor((width * (width > 500 ? 0.5 : 0.4)) / LETTER);
  const names = rows.map((row) => shortened(row.method.name, length));
  const left = 12 + LETTER * Math.max(...names.map((name) => name.length));
  const height = ROW * rows.length + 44;
  const values = rows.flatMap((row) => [row.low, row.high, ...row.runs.map((run) => run.value)]);
  const x = linear(...ends(values, 0.05), left, width - MARGIN.right);
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": spec.label,
    class: "plot",
  });
  const bottom = height - 36;
  const lines = svg("g", { class: "axes" });
  const titleX =
    spec.rows.length > rows.length ? `accuracy (the best ${rows.length} of ${spec.rows.length})` : "accuracy";
  for (const tick of x.ticks(Math.max(3, Math.round((width - left) / 80)))) {
    const at = x.at(tick.value);
    lines.append(svg("line", { x1: at, x2: at, y1: 2, y2: bottom, class: "rule" }));
    lines.append(svg("text", { x: at, y: bottom + 14, "text-anchor": "middle" }, tick.text));
  }
  lines.append(svg("text", { x: (left + width) / 2, y: bottom + 31, "text-anchor": "middle", class: "title" }, titleX));
  picture.append(lines);
  const marks = [];
  rows.forEach((row, i) => {
    const y = ROW * (i + 0.5) + 2;
    const group = svg("g", { class: "series", style: `color: ${colourOf(row.method)}` });
    if (row.method.dense) {
      group.append(svg("line", { x1: x.at(row.y), x2: x.at(row.y), y1: 2, y2: bottom, class: "baseline" }));
    }
    group.append(svg("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, names[i]));
    group.append(svg("line", { x1: x.at(row.low), x2: x.at(row.high), y1: y, y2: y, class: "spread" }));
    for (const run of row.runs) {
      group.append(svg("circle", { cx: x.at(run.value), cy: y + 5, r: 2, class: "run" }));
      marks.push({ x: x.at(run.value), y: y + 5, tip: run.tip, series: group });
    }
    group.append(marker(row.method, x.at(row.y), y, 4.5, row.hollow));
    marks.push({ x: x.at(row.y), y: y - 2, tip: row.tip, series: group });
    picture.append(group);
  });
  answerPointer(picture, width, marks);
  return picture;
}
