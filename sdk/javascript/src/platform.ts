/** The platform that the client runs on. */

/** True in Node.js, where the `node:` modules do more than the web's interfaces; false in Deno, Bun and Electron pages. */
export function isNode(): boolean {
  const { process, Deno, Bun } = globalThis as Record<string, any>;
  return process?.versions?.node !== undefined && Deno === undefined && Bun === undefined && process.type !== "renderer";
}

/** True in a page, where servers of other origins must permit headers. */
export function isPage(): boolean {
  return typeof document !== "undefined";
}
