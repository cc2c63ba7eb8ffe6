// Checks a chosen file before it travels, and takes dropped ones: <div data-dropzone data-max-bytes="...">.
for (const zone of document.querySelectorAll("[data-dropzone]")) {
  const input = zone.querySelector("input[type=file]");
  const status = zone.querySelector("[data-dropzone-status]");
  const most = Number(zone.dataset.maxBytes);
  const endings = input.accept.toLowerCase().split(",").map((ending) => ending.trim()).filter((ending) => ending.startsWith("."));
  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

  input.addEventListener("change", () => {
    const file = input.files[0];
    if (!file) return (status.textContent = "");
    const known = !endings.length || endings.some((ending) => file.name.toLowerCase().endsWith(ending));
    let problem = "";
    if (!known) problem = `${file.name} is not a kind of file that can be read here. Choose ${endings.join(", ")}.`;
    else if (most && file.size > most) problem = `${file.name} is ${size(file.size)}; at most ${size(most)} can be read.`;
    zone.classList.toggle("dropzone-wrong", Boolean(problem));
    status.textContent = problem || `${file.name}, ${size(file.size)}`;
    if (problem) input.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("dropzone-over");
  });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("dropzone-over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change"));
  });
}
