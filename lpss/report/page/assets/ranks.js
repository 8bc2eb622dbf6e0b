// A critical-difference diagram (Demsar 2006): average ranks; bars join methods that do not differ significantly.
const LINE = 20;

function rankDiagram(room, ranking) {
  const width = Math.max(room, 250 + 10 * ranking.ranks.length);
  const k = ranking.ranks.length;
  const longest = Math.max(...ranking.ranks.map(([name]) => name.length));
  const side = Math.min(width * 0.3, 6.6 * (longest + 6) + 16);
  const x = linear(1, Math.max(2, k), side, width - side);
  const axis = 52;
  const names = axis + 14 + 9 * ranking.groups.length + 12;
  const height = names + LINE * Math.ceil(k / 2) + 4;
  const attributes = {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Average ranks. ${ranking.title}`,
  };
  const picture = svg("svg", { ...attributes, class: "plot ranks", style: `min-width: ${width}px` });
  const line = (x1, y1, x2, y2, name = "stroke") => picture.append(svg("line", { x1, y1, x2, y2, class: name }));
  const text = (at, y, words, anchor = "middle") =>
    picture.append(svg("text", { x: at, y, "text-anchor": anchor }, words));

  line(x.at(1), axis, x.at(k), axis);
  for (let half = 2; half <= 2 * k; half++) {
    line(x.at(half / 2), axis, x.at(half / 2), axis - (half % 2 ? 4 : 8));
    if (half % 2 === 0) text(x.at(half / 2), axis - 12, String(half / 2));
  }
  const difference = `CD = ${ranking.difference.toFixed(2)}`;
  if (ranking.difference > k - 1) text(x.at((1 + k) / 2), 22, `${difference}, longer than the axis`);
  else {
    const [from, to] = [x.at(1), x.at(1 + ranking.difference)];
    line(from, 20, to, 20);
    for (const end of [from, to]) line(end, 16, end, 24);
    text((from + to) / 2, 13, difference);
  }
  ranking.groups.forEach(([first, last], i) => {
    const y = axis + 14 + 9 * i;
    line(x.at(ranking.ranks[first][1]) - 4, y, x.at(ranking.ranks[last][1]) + 4, y, "stroke bar");
  });
  ranking.ranks.forEach(([name, rank], i) => {
    const better = i < Math.ceil(k / 2);
    // The outermost names are the highest, so that no line crosses another.
    const y = names + LINE * (better ? i : k - 1 - i) + 6;
    const edge = better ? side - 14 : width - side + 14;
    const method = data.methods.find((one) => one.kind === name);
    picture.append(
      svg("path", {
        d: path([
          [x.at(rank), axis],
          [x.at(rank), y],
          [edge, y],
        ]),
        class: "stroke thin",
      }),
    );
    const group = svg("g", { style: `color: ${method ? colourOf(method) : "var(--ink)"}` });
    group.append(svg("circle", { cx: x.at(rank), cy: axis, r: 4.5, class: "mark" }));
    picture.append(group);
    text(
      edge + (better ? -4 : 4),
      y + 4,
      better ? `${name}  ${rank.toFixed(2)}` : `${rank.toFixed(2)}  ${name}`,
      better ? "end" : "start",
    );
  });
  return picture;
}
