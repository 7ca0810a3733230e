// The theme: light, dark, or the system's.
import { byId } from "./dom.js";

const NAME = "flagent-cdc.theme";
const CHOICES = ["system", "light", "dark"];

/** `changed()` is called when the colours change, by the switch or by the system. */
export function watchTheme(changed) {
  const button = byId("theme");
  let choice = CHOICES.includes(localStorage.getItem(NAME)) ? localStorage.getItem(NAME) : "system";
  const apply = () => {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.setAttribute("aria-label", `Theme: ${choice}`);
    changed();
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem(NAME, choice);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  apply();
}
