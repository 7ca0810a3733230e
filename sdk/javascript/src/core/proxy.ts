/** The proxy of a URL, from the environment variables that most tools read. */

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * From `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`; in lower case they take precedence. Null = no proxy. Raises
 * TypeError for a value that is not the URL of an HTTP proxy.
 */
export function proxyFor(target: URL, env: Environment): URL | null {
  const scheme = /^(https|wss):$/.test(target.protocol) ? "https" : "http";
  // In a CGI program HTTP_PROXY is the request's header `Proxy`, which anybody can send.
  const names = [`${scheme}_proxy`, ...(scheme === "http" && env.REQUEST_METHOD !== undefined ? [] : [`${scheme.toUpperCase()}_PROXY`]), "all_proxy", "ALL_PROXY"];
  const name = names.find((one) => env[one]);
  if (name === undefined || isExempt(target, env.no_proxy ?? env.NO_PROXY ?? "")) return null;
  const value = env[name]!;
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`;
  const proxy = URL.canParse(url) ? new URL(url) : null;
  if (proxy === null || !/^https?:$/.test(proxy.protocol)) throw new TypeError(`${name} must be the URL of an HTTP proxy, such as http://proxy:3128`);
  return proxy;
}

/** `NO_PROXY`: hosts, which include their subdomains, with or without a port; `*` = all. */
function isExempt(target: URL, exempt: string): boolean {
  const host = target.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = target.port || (/^(https|wss):$/.test(target.protocol) ? "443" : "80");
  return exempt.toLowerCase().split(/[\s,]+/).some((entry) => {
    if (entry === "*") return true;
    const [, name = "", ownPort] = /^\[?(?:\*?\.)?(.*?)\]?(?::([0-9]+))?$/.exec(/^[^[]*:.*:/.test(entry) ? `[${entry}]` : entry) ?? [];
    return name !== "" && (ownPort === undefined || ownPort === port) && (host === name || host.endsWith(`.${name}`));
  });
}
