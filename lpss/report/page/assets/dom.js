// Elements of the page, made in one call: html("a", { href: "#x", onclick: f }, "text", child).
const SVG = "http://www.w3.org/2000/svg";

function furnished(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const html = (tag, attributes = {}, ...children) => furnished(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => furnished(document.createElementNS(SVG, tag), attributes, children);
const all = (selector) => [...document.querySelectorAll(selector)];
