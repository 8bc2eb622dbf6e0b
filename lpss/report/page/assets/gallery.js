// Panels on the page: drawn when they come into view, a few of them until more are asked for.
const FIRST = 12; // panels of a section that are shown until more are asked for

const drawn = new WeakMap(); // a panel's element -> how it is drawn
const watcher = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "800px" },
);

function draw(figure, width) {
  watcher.unobserve(figure);
  const canvas = figure.querySelector(".canvas");
  canvas.style.minHeight = 0;
  canvas.replaceChildren(drawn.get(figure)(width ?? Math.max(260, Math.round(canvas.clientWidth))));
}

function figureOf(panel) {
  const figure = html("figure", {}, html("figcaption", {}, panel.title), html("div", { class: "canvas" }));
  drawn.set(figure, panel.draw);
  return figure;
}

function fill(container) {
  const panels = PANELS[container.dataset.chart](container.dataset.place);
  const count = container.dataset.all ? panels.length : FIRST;
  container.replaceChildren(...panels.slice(0, count).map(figureOf));
  if (!panels.length) container.append(html("p", { class: "none" }, "Nothing to draw here."));
  if (panels.length > count) {
    const showAll = () => {
      container.dataset.all = "yes";
      fill(container);
    };
    container.append(html("button", { class: "more", onclick: showAll }, `Show all ${panels.length} panels`));
  }
  for (const figure of container.querySelectorAll("figure")) watcher.observe(figure);
}

const fillAll = () => all("[data-chart]").forEach(fill);
