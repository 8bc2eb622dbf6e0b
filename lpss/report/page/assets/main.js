// Start: choices, legends, theme, tables, charts.
const WIDE = "(min-width: 1100px)"; // as in page.css

// A method in a legend; its places are those of all kinds of its runs.
function chip(places) {
  const method = data.methods[places[0]];
  const icon = svg(
    "svg",
    { viewBox: "-2 -2 4 4", class: "icon", style: `color: ${colourOf(method)}` },
    marker(method, 0, 0, 1.2),
  );
  const toggle = () => {
    const hide = !state.hidden.has(places[0]);
    for (const place of places) hide ? state.hidden.add(place) : state.hidden.delete(place);
    changed("charts");
  };
  const alone = () => {
    state.hidden = new Set(data.methods.keys());
    for (const place of places) state.hidden.delete(place);
    changed("charts");
  };
  const attributes = {
    class: "chip",
    type: "button",
    "data-method": places[0],
    "aria-pressed": "true",
    onclick: toggle,
    ondblclick: alone,
  };
  return html(
    "button",
    { ...attributes, title: `${method.kind}: click hides it in the charts, double-click shows it alone` },
    icon,
    method.kind,
  );
}

function fillLegends() {
  const everyone = () => {
    state.hidden.clear();
    changed("charts");
  };
  const kinds = [...grouped(data.methods.keys(), (place) => data.methods[place].kind).values()];
  for (const legend of all(".legend")) {
    legend.replaceChildren(
      ...kinds.map(chip),
      html("button", { class: "everyone", type: "button", onclick: everyone }, "show all"),
    );
  }
}

function showHidden() {
  for (const one of all(".chip"))
    one.setAttribute("aria-pressed", String(!state.hidden.has(Number(one.dataset.method))));
  for (const one of all(".everyone")) one.hidden = !state.hidden.size;
}

function fillChoices(form) {
  for (const [title, texts] of Object.entries(facetsOf())) {
    const select = html(
      "select",
      {},
      html("option", { value: "" }, "all"),
      ...[...texts].map((text) => html("option", {}, text)),
    );
    select.addEventListener("change", () => {
      state.facets[title] = select.value;
      changed("tables", "charts");
    });
    form.append(html("label", {}, html("span", {}, title), select));
  }
  const words = html("input", { type: "search", placeholder: "words in rows" });
  words.addEventListener("input", () => {
    state.words = words.value;
    changed("tables");
  });
  form.append(html("label", {}, html("span", {}, "Find in tables"), words));
}

// Buttons that choose what the charts by epoch or by layer show.
function fillMeasures(place) {
  const kind = place.dataset.measures;
  const known = Object.entries(data.measures[kind]).filter(([name]) => data[kind].some((one) => one[name]));
  for (const [name, title] of known) {
    const choose = () => {
      state.measures[kind] = name;
      changed("charts");
    };
    place.append(html("button", { type: "button", "data-measure": name, onclick: choose }, title));
  }
}

function showMeasures() {
  for (const place of all("[data-measures]")) {
    const chosen = state.measures[place.dataset.measures];
    for (const one of place.children) one.setAttribute("aria-pressed", String(one.dataset.measure === chosen));
  }
}

function switchTheme() {
  const dark =
    getComputedStyle(document.documentElement).colorScheme === "dark" ||
    (!document.documentElement.style.colorScheme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.style.colorScheme = dark ? "light" : "dark";
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar changes the height alone
  width = innerWidth;
  fillAll();
});
// On paper there are two panels a line, of a width in which their texts can be read.
addEventListener("beforeprint", () =>
  all("figure").forEach((figure) => draw(figure, figure.closest(".diagrams") ? 660 : 330)),
);
addEventListener("afterprint", fillAll);

document.documentElement.classList.add("scripted");
document.getElementById("theme").addEventListener("click", switchTheme);
const side = document.getElementById("side");
side.open = matchMedia(WIDE).matches;
side.addEventListener("click", (event) => {
  if (event.target.matches("nav a") && !matchMedia(WIDE).matches) side.open = false;
});
all("#choices").forEach(fillChoices);
all("[data-measures]").forEach(fillMeasures);
fillLegends();
all("table.data").forEach(sortable);
all("#all-runs table").forEach(listRuns);
views.charts.push(fillAll, showHidden, showMeasures);
changed("tables", "charts");
