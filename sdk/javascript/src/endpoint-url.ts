/** The `url` option of a client, checked before anything connects. */

/** The absolute URL; raises TypeError that names the option, its value and the allowed form. */
export function endpointUrl(url: string, protocols: readonly string[]): string {
  const base = typeof location === "undefined" ? undefined : location.href;
  let parsed: URL;
  try {
    parsed = new URL(url, base);
  } catch (cause) {
    throw new TypeError(`url is ${JSON.stringify(url)}; it must be an absolute URL such as ${protocols[1]}//host/…`, { cause });
  }
  const isSocket = protocols[0] === "ws:";
  // A page may pass a path alone; its base then has the scheme http.
  if (isSocket && base !== undefined && !/^[a-z]+:/i.test(url)) parsed.protocol = parsed.protocol.replace("http", "ws");
  if (!protocols.includes(parsed.protocol)) {
    throw new TypeError(`url is ${JSON.stringify(url)}; it must begin with ${protocols.join("// or ")}//`);
  }
  return parsed.href;
}
