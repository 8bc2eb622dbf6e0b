// A chart of y against x: points, with spreads and names, lines and bands.
const MARGIN = { top: 24, right: 14, bottom: 40, left: 46 };
const colourOf = (method) => (method.dense ? "var(--ink)" : `var(--c${method.colour})`);

// Lines of methods that have the same colour differ by their dashes.
const DASHES = ["", "9 3", "2 3", "9 3 2 3"];
const dashOf = (method) => (method.dense ? "5 3" : DASHES[method.dash % DASHES.length]);

// The outlines of matplotlib's o s D ^ v P X, and a bar for dense; `size` is half of a marker's width.
const OUTLINES = [
  "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0z",
  "M-.9 -.9h1.8v1.8h-1.8z",
  "M0 -1.2l1.2 1.2l-1.2 1.2l-1.2 -1.2z",
  "M0 -1.1l1.1 2h-2.2z",
  "M0 1.1l1.1 -2h-2.2z",
  "M-.4 -1.1h.8v.7h.7v.8h-.7v.7h-.8v-.7h-.7v-.8h.7z",
  "M-1.1 -.6l.5 -.5l.6 .6l.6 -.6l.5 .5l-.6 .6l.6 .6l-.5 .5l-.6 -.6l-.6 .6l-.5 -.5l.6 -.6z",
];
const BAR = "M-1.3 -.35h2.6v.7h-2.6z";

function marker(method, x, y, size, hollow = false) {
  return svg("path", {
    d: method.dense ? BAR : OUTLINES[method.marker],
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${size})`,
    class: hollow ? "mark hollow" : "mark",
  });
}

function axes(x, y, frame, titles) {
  const { left, right, top, bottom } = frame;
  const lines = svg("g", { class: "axes" });
  for (const tick of y.ticks(Math.max(3, Math.round((bottom - top) / 34)))) {
    const at = y.at(tick.value);
    lines.append(svg("line", { x1: left, x2: right, y1: at, y2: at, class: "rule" }));
    lines.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, tick.text));
  }
  for (const tick of x.ticks(Math.max(3, Math.round((right - left) / 70)))) {
    const at = x.at(tick.value);
    lines.append(svg("line", { x1: at, x2: at, y1: bottom, y2: bottom + 4 }));
    lines.append(svg("text", { x: at, y: bottom + 16, "text-anchor": "middle" }, tick.text));
  }
  lines.append(svg("line", { x1: left, x2: right, y1: bottom, y2: bottom }));
  lines.append(
    svg("text", { x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle", class: "title" }, titles.x),
  );
  lines.append(svg("text", { x: 2, y: top - 10, class: "title" }, titles.y));
  return lines;
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function ends(values, share = 0.07) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? padded(Math.min(...known), Math.max(...known), share) : [0, 1];
}

// spec: { label, x: (from, to) => scale, titleX, titleY, floor?, baselines?: [{ method, y, low, high, tip }], aside?,
// series: [{ method, line?, name?, points: [{ x, y, low?, high?, hollow?, tip }] }] }; aside: within how many
// pixels series that would hide each other are drawn beside each other.
function plot(width, spec) {
  const height = Math.round(Math.min(360, Math.max(210, width * 0.64)));
  const frame = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const x = spec.x(frame.left, frame.right);
  const heights = spec.series.flatMap((one) => one.points.flatMap((point) => [point.y, point.low, point.high]));
  const baselines = spec.baselines ?? [];
  heights.push(...baselines.flatMap((one) => [one.y, one.low, one.high]));
  const [low, high] = ends(
    spec.floor === undefined ? heights : [...heights.filter((one) => one >= spec.floor), spec.floor],
  );
  const y = linear(low, high, frame.bottom, frame.top);
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": spec.label,
    class: "plot",
  });
  const clip = `clip${plot.count++}`;
  const box = { x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top };
  picture.append(
    svg("clipPath", { id: clip }, svg("rect", box)),
    axes(x, y, frame, { x: spec.titleX, y: spec.titleY }),
  );
  const marks = [];
  for (const one of baselines) picture.append(drawBaseline(one, y, frame, marks));
  spec.series.forEach((one, i) => {
    const shift = (i - (spec.series.length - 1) / 2) * Math.min(4, (spec.aside ?? 0) / spec.series.length);
    const shifted = { at: (value) => x.at(value) + shift };
    picture.append(drawSeries(one, shifted, y, `url(#${clip})`, marks));
  });
  const names = spec.series
    .filter((one) => one.name)
    .map((one) => ({ text: one.name, ...placed(one.points[0], x, y) }));
  picture.append(writeNames(names, frame));
  answerPointer(picture, width, marks);
  return picture;
}
plot.count = 0;

const placed = (point, x, y) => ({ x: x.at(point.x), y: y.at(point.y) });

function drawBaseline(baseline, y, frame, marks) {
  const at = y.at(baseline.y);
  const group = svg("g", { class: "series", style: `color: ${colourOf(baseline.method)}` });
  if (baseline.low !== baseline.high) {
    const [top, bottom] = [y.at(baseline.high), y.at(baseline.low)];
    group.append(
      svg("rect", { x: frame.left, width: frame.right - frame.left, y: top, height: bottom - top, class: "band" }),
    );
  }
  group.append(svg("line", { x1: frame.left, x2: frame.right, y1: at, y2: at, class: "baseline" }));
  for (let x = frame.left; x <= frame.right; x += 20) marks.push({ x, y: at, tip: baseline.tip, series: group });
  return group;
}

function drawSeries(one, x, y, clip, marks) {
  const group = svg("g", { class: "series", style: `color: ${colourOf(one.method)}` });
  const spots = one.points.map((point) => [x.at(point.x), y.at(point.y)]);
  const drawn = svg("g", { "clip-path": clip });
  const spread = one.points.filter((point) => point.low !== undefined && point.low !== point.high);
  if (one.line === "curve" && spread.length > 1) {
    const upper = spread.map((point) => [x.at(point.x), y.at(point.high)]);
    const lower = spread.map((point) => [x.at(point.x), y.at(point.low)]);
    drawn.append(svg("path", { d: `${path([...upper, ...lower.reverse()])}Z`, class: "band" }));
  }
  if (one.line) drawn.append(svg("path", { d: path(spots), class: "line", "stroke-dasharray": dashOf(one.method) }));
  group.append(drawn);
  one.points.forEach((point, i) => {
    const [left, top] = spots[i];
    if (one.line !== "curve") {
      if (point.low !== undefined && point.low !== point.high) {
        group.append(svg("line", { x1: left, x2: left, y1: y.at(point.low), y2: y.at(point.high), class: "spread" }));
      }
      group.append(marker(one.method, left, top, 4, point.hollow));
    }
    marks.push({ x: left, y: top, tip: point.tip, series: group });
  });
  return group;
}

// Names beside their points where there is room for them; those that find none are said by the pointer.
function writeNames(names, frame) {
  const group = svg("g", { class: "names" });
  const taken = names.map(({ x, y }) => ({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }));
  const free = (box) =>
    box.left >= frame.left &&
    box.right <= frame.right + 10 &&
    box.top >= frame.top - 6 &&
    box.bottom <= frame.bottom &&
    taken.every((o) => box.right < o.left || box.left > o.right || box.bottom < o.top || box.top > o.bottom);
  for (const { text, x, y } of names) {
    const width = text.length * 5.9;
    const places = [
      [x + 8, y],
      [x - 8 - width, y],
      [x - width / 2, y - 12],
      [x - width / 2, y + 12],
      [x + 6, y - 10],
      [x + 6, y + 10],
      [x - 6 - width, y - 10],
      [x - 6 - width, y + 10],
    ];
    const found = places.find(([left, at]) => free({ left, right: left + width, top: at - 5, bottom: at + 5 }));
    if (!found) continue;
    const [left, at] = found;
    taken.push({ left, right: left + width, top: at - 5, bottom: at + 5 });
    group.append(svg("text", { x: left, y: at + 4 }, text));
  }
  return group;
}
