/** The `url` option of a client, checked before anything connects. */

/** The absolute URL; raises TypeError that names the option, its value and the allowed form. */
export function endpointUrl(url: string, protocols: readonly string[], base = pageUrl()): string {
  const parsed = URL.canParse(url, base) ? new URL(url, base) : null;
  if (parsed === null || !protocols.includes(parsed.protocol)) {
    throw new TypeError(`url is ${JSON.stringify(url)}; it must be an absolute URL that begins with ${protocols.join("// or ")}//`);
  }
  return parsed.href;
}

/** A page may pass a path alone. */
export function pageUrl(): string | undefined {
  return typeof location === "undefined" ? undefined : location.href;
}
