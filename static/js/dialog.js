// Opens a dialog in place of the page that a link leads to: <a href="/the-same-as-a-page" data-dialog="id">.
for (const opener of document.querySelectorAll("[data-dialog]")) {
  const dialog = document.getElementById(opener.dataset.dialog);
  opener.addEventListener("click", (event) => {
    if (!dialog || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    dialog.showModal();
  });
}
for (const closer of document.querySelectorAll("[data-dialog-close]")) {
  closer.addEventListener("click", () => closer.closest("dialog").close());
}
