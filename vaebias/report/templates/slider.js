// Traversals: each range input moves its frame over a strip of images drawn beforehand.
document.documentElement.classList.add("js");
for (const latent of document.querySelectorAll(".latent")) {
  const input = latent.querySelector("input");
  const frame = latent.querySelector(".frame");
  const output = latent.querySelector("output");
  const values = JSON.parse(latent.dataset.values);
  frame.style.backgroundImage = `url(${latent.querySelector(".all img").src})`;
  frame.style.backgroundSize = `${100 * values.length}% 100%`;
  const show = () => {
    const at = Number(input.value);
    frame.style.backgroundPositionX = `${(100 * at) / Math.max(values.length - 1, 1)}%`;
    output.textContent = values[at];
    input.setAttribute("aria-valuetext", values[at]);
  };
  input.addEventListener("input", show);
  show();
}
