/** Disconnects a hidden tab after a while, and reconnects at once when the tab or the network is back. */
import type { ClientConnection } from "./client-connection.js";
import { isPage } from "./platform.js";

/** `graceMs` false = never disconnect. Returns a function that stops it; does nothing where there is no document. */
export function followVisibility(connection: ClientConnection, graceMs: number | false): () => void {
  if (!isPage()) return () => undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const follow = () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") {
      connection.resume("hidden");
      connection.reconnectNow();
    } else if (graceMs !== false) timer = setTimeout(() => connection.pause("hidden"), graceMs);
  };
  const online = () => connection.reconnectNow();
  // A page with an open connection does not enter the browser's back/forward cache.
  const hide = (event: PageTransitionEvent) => { if (event.persisted) connection.pause("page"); };
  const show = (event: PageTransitionEvent) => { if (event.persisted) connection.resume("page"); };
  const stop = new AbortController();
  const { signal } = stop;
  document.addEventListener("visibilitychange", follow, { signal });
  window.addEventListener("online", online, { signal });
  window.addEventListener("pagehide", hide, { signal });
  window.addEventListener("pageshow", show, { signal });
  follow();
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}
