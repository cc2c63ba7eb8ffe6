// A submitted button says what is happening and cannot be pressed twice: <button data-busy="Opening the checkout">.
const contents = new Map();

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button?.dataset.busy) return;
  if (contents.has(button)) return event.preventDefault();
  contents.set(button, [...button.childNodes]);
  button.replaceChildren(button.dataset.busy);
  button.setAttribute("aria-busy", "true");
});

// Coming back by the browser's Back button finds the page as it was left.
addEventListener("pageshow", () => {
  for (const [button, nodes] of contents) {
    button.replaceChildren(...nodes);
    button.removeAttribute("aria-busy");
  }
  contents.clear();
});
