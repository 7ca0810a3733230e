/** Disconnects in a hidden tab after a while, and comes back at once when the tab or the network does. */
import type { Link } from "./connection-supervisor.js";

/** `graceMs` false = never disconnect. Returns how to stop; does nothing where there is no document. */
export function followVisibility(link: Link, graceMs: number | false): () => void {
  if (typeof document === "undefined" || typeof window === "undefined") return () => undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const follow = () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") {
      link.resume("hidden");
      link.hurry();
    } else if (graceMs !== false) timer = setTimeout(() => link.pause("hidden"), graceMs);
  };
  const online = () => link.hurry();
  // A page with an open connection cannot be kept for the way back; without one it can.
  const hide = (event: PageTransitionEvent) => { if (event.persisted) link.pause("page"); };
  const show = (event: PageTransitionEvent) => { if (event.persisted) link.resume("page"); };
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
