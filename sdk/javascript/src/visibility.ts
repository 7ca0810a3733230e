/** Disconnects a hidden tab after a while, and reconnects at once when the tab or the network is back. */
import type { ClientConnection } from "./client-connection.js";

/** `graceMs` false = never disconnect. Returns a function that stops it; does nothing where there is no document. */
export function followVisibility(connection: ClientConnection, graceMs: number | false): () => void {
  if (typeof document === "undefined" || typeof window === "undefined") return () => undefined;
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
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("online", online);
  window.addEventListener("pagehide", hide);
  window.addEventListener("pageshow", show);
  follow();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", follow);
    window.removeEventListener("online", online);
    window.removeEventListener("pagehide", hide);
    window.removeEventListener("pageshow", show);
  };
}
