// How often clients that evaluate themselves got each variant of a flag in the last day, as they have reported it.
import { element, show } from "./dom.js";
import { countText, plural } from "./words.js";

const RELOAD_MS = 30_000;

export class FlagUsage {
  node = element("section", { class: "usage", "aria-label": "Usage", "aria-busy": "false" });
  #api;
  #flag = null;
  #schema = "";
  #run = 0;
  #timer = 0;

  constructor(api) {
    this.#api = api;
  }

  /** Show the usage of a flag, from now on until another one is shown or the section is removed. */
  open(flag, schema) {
    const isOther = this.#flag?.key !== flag.key || this.#schema !== schema;
    this.#flag = flag;
    this.#schema = schema;
    if (!isOther && this.#timer) return;
    if (isOther) show(this.node);
    clearTimeout(this.#timer);
    this.#load(++this.#run);
  }

  async #load(run) {
    const query = this.#schema ? `?${new URLSearchParams({ schema: this.#schema })}` : "";
    this.node.setAttribute("aria-busy", "true");
    try {
      const { minutes, total } = await this.#api.get(`api/v1/flags/${encodeURIComponent(this.#flag.key)}/usage${query}`);
      if (run === this.#run) this.#draw(minutes, total);
    } catch (error) {
      if (run === this.#run) show(this.node, element("p", { class: "reason" }, error.message));
    }
    if (run !== this.#run) return;
    this.node.setAttribute("aria-busy", "false");
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.node.isConnected) this.#load(run);
    }, RELOAD_MS);
  }

  #draw(minutes, total) {
    const counts = new Map();
    for (const { variantKey, count } of minutes) counts.set(variantKey, (counts.get(variantKey) ?? 0) + count);
    const { variants } = this.#flag;
    const share = ([key, count]) => {
      const place = variants.findIndex((variant) => variant.key === key);
      return element("li", {}, place < 0 ? null : element("i", { class: `dot hue-${place % 8}` }), element("span", {}, key ?? "no variant"), element("b", {}, countText(count)), element("span", {}, `${Math.round((100 * count) / total)} %`));
    };
    show(
      this.node,
      element("p", { class: "hint" }, total ? `${plural(total, "exposure")} reported in the last 24 hours` : "No exposure was reported in the last 24 hours."),
      element("ul", { class: "shares" }, [...counts].sort(([, a], [, b]) => b - a).map(share)),
    );
  }
}
