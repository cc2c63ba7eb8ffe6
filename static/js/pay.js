// Puts Stripe's embedded checkout into its place: <div data-pay data-client-secret data-key>. Says so where it fails.
const place = document.querySelector("[data-pay]");
const words = place.querySelector("[data-pay-words]");

const fail = () => {
  words.textContent = "Stripe's form did not load here. Nothing was charged; pay on Stripe's own page instead.";
  words.setAttribute("role", "status");
};

const show = async () => {
  words.textContent = "Stripe's form is loading.";
  const { clientSecret, key } = place.dataset;
  const checkout = await window.Stripe(key).createEmbeddedCheckoutPage({ clientSecret });
  words.remove();
  checkout.mount(place);
};

if (window.Stripe) show().catch(fail);
else fail();
