// Shows a typed password: <button data-reveal="id of the input" hidden>.
for (const button of document.querySelectorAll("[data-reveal]")) {
  const input = document.getElementById(button.dataset.reveal);
  const name = () => button.setAttribute("aria-label", `${button.textContent} the password`);
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.textContent = shown ? "Show" : "Hide";
    name();
  });
  // Sent as a password again, so that the browser offers to keep it and not to suggest it as text.
  input.form?.addEventListener("submit", () => (input.type = "password"));
}
