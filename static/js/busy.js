// A submitted button says what is happening and cannot be pressed twice: <button data-busy="Opening the checkout">.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button?.dataset.busy) return;
  if (button.getAttribute("aria-busy") === "true") return event.preventDefault();
  button.dataset.label = button.textContent;
  button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
});

// Coming back by the browser's Back button finds the page as it was left.
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll('[data-busy][aria-busy="true"]')) {
    button.textContent = button.dataset.label;
    button.removeAttribute("aria-busy");
  }
});
