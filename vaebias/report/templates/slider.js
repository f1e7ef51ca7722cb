// Traversals: each range input moves its frames over strips of images decoded beforehand.
// A button plays all of a group; it starts by itself unless the reader asks for less motion.
document.documentElement.classList.add("js");
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const PAUSE = 140; // milliseconds between frames

for (const group of document.querySelectorAll(".traversal")) {
  const moves = [...group.querySelectorAll(".move")].map((move) => {
    const input = move.querySelector("input");
    const output = move.querySelector("output");
    const frames = [...move.querySelectorAll("figure")].map((figure) => {
      const image = figure.querySelector(".all img");
      const frame = figure.querySelector(".frame");
      const values = JSON.parse(figure.dataset.values);
      frame.style.backgroundImage = `url(${image.src})`;
      frame.style.backgroundSize = `${100 * values.length}% 100%`;
      frame.style.aspectRatio = `${image.getAttribute("width") / values.length} / ${image.getAttribute("height")}`;
      return { frame, values };
    });
    const show = () => {
      const at = Number(input.value);
      for (const { frame, values } of frames) {
        frame.style.backgroundPositionX = `${(100 * at) / Math.max(values.length - 1, 1)}%`;
      }
      const codes = frames.map(({ values }) => values[at]); // one, if all versions have the same
      output.textContent = (new Set(codes).size === 1 ? [codes[0]] : codes).join(" | ");
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", show);
    show();
    return { input, show };
  });

  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  (group.querySelector(".intro") ?? group.previousElementSibling).append(button);
  let timer = null;
  let direction = 1;
  const step = () => {
    const last = Math.max(...moves.map(({ input }) => Number(input.max)));
    const at = Number(moves[0].input.value) + direction;
    if (at >= last || at <= 0) direction = -direction;
    for (const { input, show } of moves) {
      input.value = at;
      show();
    }
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on && moves.length ? setInterval(step, PAUSE) : null;
    button.textContent = on ? "Pause" : "Play";
  };
  button.addEventListener("click", () => play(timer === null));
  for (const { input } of moves) input.addEventListener("input", () => play(false));
  play(false);
  if (!calm) {
    // only while in view, so that a long page stays quiet
    let begun = false;
    new IntersectionObserver(([entry]) => {
      if (entry.isIntersecting && !begun) {
        begun = true;
        play(true);
      } else if (!entry.isIntersecting && timer !== null) {
        play(false);
        begun = false;
      }
    }).observe(group);
  }
}

// Tables and strips that are wider than the screen say so.
const wide = () => {
  for (const each of document.querySelectorAll(".scroll, .wide")) {
    const over = each.scrollWidth > each.clientWidth + 1;
    each.classList.toggle("over", over);
    if (over) each.setAttribute("tabindex", "0");
    else each.removeAttribute("tabindex");
  }
};
addEventListener("resize", wide);
wide();
