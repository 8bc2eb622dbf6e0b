// The box that says what is under the pointer.
const tip = html("div", { id: "tip", role: "tooltip", hidden: "" });
document.body.append(tip);

function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line, i) => html(i ? "div" : "strong", {}, line)));
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
  const top = Math.min(event.clientY + 14, innerHeight - height - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, top)}px`;
}

const hideTip = () => (tip.hidden = true);
addEventListener("scroll", hideTip, { passive: true });

// Show the tip of the mark nearest to the pointer, and its series before the others. marks: { x, y, tip, series }.
function answerPointer(picture, width, marks) {
  const quiet = () => {
    hideTip();
    picture.classList.remove("dim");
  };
  const look = (event) => {
    const box = picture.getBoundingClientRect();
    const scale = width / box.width;
    const x = (event.clientX - box.left) * scale;
    const y = (event.clientY - box.top) * scale;
    let best = null;
    let least = 40;
    for (const mark of marks) {
      const distance = Math.hypot(mark.x - x, mark.y - y);
      if (distance < least) [best, least] = [mark, distance];
    }
    if (!best) return quiet();
    picture.classList.add("dim");
    for (const series of picture.querySelectorAll(".series")) series.classList.toggle("lit", series === best.series);
    showTip(event, best.tip);
  };
  picture.addEventListener("pointermove", look);
  picture.addEventListener("pointerdown", look);
  picture.addEventListener("pointerleave", quiet);
}
