// The credential, in memory or, if the reader chose that, in the tab's storage; never in a URL.
import { byId, setText } from "./dom.js";

const NAME = "flagent-cdc.credential";

export class Credential {
  value = sessionStorage.getItem(NAME);
  #changed;
  #dialog = byId("credential");

  /** `changed()` is called when the credential was replaced or removed. */
  constructor(changed) {
    this.#changed = changed;
    byId("open-credential").addEventListener("click", () => this.ask(""));
    byId("credential-cancel").addEventListener("click", () => this.#dialog.close());
    byId("credential-forget").addEventListener("click", () => this.#take(null, false));
    this.#dialog.addEventListener("close", () => (byId("credential-text").value = ""));
    this.#dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take(byId("credential-text").value.trim() || null, byId("credential-keep").checked);
    });
  }

  /** Open the dialog; `reason` is empty if the reader opened it. */
  ask(reason) {
    setText(byId("credential-reason"), reason);
    byId("credential-forget").hidden = this.value === null;
    if (!this.#dialog.open) this.#dialog.showModal();
    byId("credential-text").focus();
  }

  #take(value, isKept) {
    this.value = value;
    if (value !== null && isKept) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
    this.#dialog.close();
    this.#changed();
  }
}
