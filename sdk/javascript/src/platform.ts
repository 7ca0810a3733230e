/** Where this runs. */

/** In Node.js itself, where the `node:` modules do more than the web's interfaces; not in Deno, Bun, or a page of Electron. */
export function isNode(): boolean {
  const { process, Deno, Bun } = globalThis as Record<string, any>;
  return process?.versions?.node !== undefined && Deno === undefined && Bun === undefined && process.type !== "renderer";
}

/** In a page, where other origins' servers must permit headers. */
export function isPage(): boolean {
  return typeof document !== "undefined";
}
