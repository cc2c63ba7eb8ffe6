// The sandbox's stand-in for Stripe.js: Stripe(key).createEmbeddedCheckoutPage({ clientSecret }) and mount().
(() => {
  const home = new URL(document.currentScript.src).origin;

  class EmbeddedCheckoutPage {
    constructor(key, clientSecret, onComplete) {
      this.frame = document.createElement("iframe");
      this.frame.title = "Secure checkout";
      this.frame.name = "embedded-checkout";
      this.frame.src = `${home}/checkout/embedded/${encodeURIComponent(clientSecret)}?key=${encodeURIComponent(key)}`;
      Object.assign(this.frame.style, { border: "0", width: "100%", height: "48rem" });
      this.hear = (event) => {
        if (event.origin !== home || event.source !== this.frame.contentWindow) return;
        if (event.data.height) this.frame.style.height = `${event.data.height}px`;
        if (!event.data.complete) return;
        if (onComplete) onComplete();
        if (event.data.onward) location.assign(event.data.onward);
      };
      addEventListener("message", this.hear);
    }

    mount(where) {
      const place = typeof where === "string" ? document.querySelector(where) : where;
      if (!place) throw new Error("There is no element to mount the checkout in.");
      place.append(this.frame);
    }

    unmount() {
      this.frame.remove();
    }

    destroy() {
      removeEventListener("message", this.hear);
      this.unmount();
    }
  }

  const Stripe = (key) => {
    if (!/^pk_(test|live)_/.test(key)) throw new Error(`Invalid publishable key: ${key}`);
    return {
      async createEmbeddedCheckoutPage({ clientSecret, fetchClientSecret, onComplete } = {}) {
        const secret = clientSecret ?? (await fetchClientSecret?.());
        if (!secret) throw new Error("A client secret is needed.");
        return new EmbeddedCheckoutPage(key, secret, onComplete);
      },
    };
  };
  Stripe.version = "sandbox";
  window.Stripe = Stripe;
})();
