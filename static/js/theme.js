// Changes the theme without loading the page again; the form does the same without script.
for (const form of document.querySelectorAll("[data-theme-switch]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = event.submitter.value;
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form, event.submitter), redirect: "manual" });
    if (answer.type !== "opaqueredirect") return form.submit();
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    for (const button of form.querySelectorAll("[aria-pressed]")) button.ariaPressed = String(button.value === chosen);
  });
}
