// What scripts add to forms: cards fill in at once, numbers are grouped, a form under way says so and is sent once.

const BRANDS = [
  ["visa", /^4/], ["mastercard", /^(5[1-5]|2[2-7])/], ["amex", /^3[47]/], ["discover", /^6(011|5)/],
];

function grouped(digits) {
  const groups = /^3[47]/.test(digits) ? [4, 6, 5] : [4, 4, 4, 4, 3];
  const parts = [];
  let at = 0;
  for (const length of groups) {
    if (at < digits.length) parts.push(digits.slice(at, at + length));
    at += length;
  }
  return parts.join(" ");
}

function showBrand(field) {
  const digits = field.value.replace(/\D/g, "");
  const found = BRANDS.find(([, pattern]) => pattern.test(digits));
  for (const mark of field.parentElement.querySelectorAll("[data-brand]")) {
    mark.toggleAttribute("hidden", Boolean(digits) && mark.dataset.brand !== (found && found[0]));
  }
}

function whileTyping(field, write) {
  field.addEventListener("input", () => {
    const atEnd = field.selectionStart === field.value.length;
    if (atEnd) field.value = write(field.value);
    if (field.name === "card_number") showBrand(field);
  });
}

for (const card of document.querySelectorAll("[data-card]")) {
  const number = card.querySelector("[name=card_number]");
  whileTyping(number, (typed) => grouped(typed.replace(/\D/g, "")));
  whileTyping(card.querySelector("[name=card_expiry]"), (typed) => {
    const digits = typed.replace(/\D/g, "").slice(0, 6);
    return digits.length > 2 ? `${digits.slice(0, 2)} / ${digits.slice(2)}` : digits;
  });
  showBrand(number);
}

document.addEventListener("click", (event) => {
  const chip = event.target.closest("button[name=test_card]");
  if (!chip) return;
  event.preventDefault();
  const form = chip.form;
  const another = form.querySelector("[name=saved_card][value='']");
  if (another) another.checked = true;
  form.elements.card_number.value = grouped(chip.value);
  form.elements.card_expiry.value = "12 / 34";
  form.elements.card_cvc.value = /^3[47]/.test(chip.value) ? "1234" : "123";
  if (!form.elements.billing_name.value) form.elements.billing_name.value = "Jenny Rosen";
  if (form.elements.email && !form.elements.email.value) form.elements.email.value = "jenny@example.com";
  showBrand(form.elements.card_number);
  for (const other of form.querySelectorAll("button[name=test_card]")) {
    other.setAttribute("aria-pressed", String(other.value === chip.value));
  }
  form.querySelector("button[data-busy]")?.focus({ preventScroll: true });
});

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  const shown = button?.dataset.busy ? button : form.querySelector("button[data-busy]");
  if (shown && (button === shown || button?.hasAttribute("data-default"))) {
    shown.dataset.words = shown.textContent;
    shown.textContent = shown.dataset.busy;
    shown.setAttribute("aria-busy", "true");
  }
});

// A page that comes back from the history is as if nothing had been pressed.
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
  for (const button of document.querySelectorAll("button[aria-busy]")) {
    button.textContent = button.dataset.words || button.textContent;
    button.removeAttribute("aria-busy");
  }
});

for (const copy of document.querySelectorAll("button[data-copy]")) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
    copy.textContent = "Copied";
  });
}
