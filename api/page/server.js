// The state of the server: the strip of instruments, and the view of all numbers.
import { byId, element, setText, show } from "./dom.js";
import { agoText, bytesText, countText, durationText } from "./words.js";

const POLL_MS = 2_000;
const MODES = { listening: "good", polling: "warn", starting: "warn", disconnected: "bad" };

export class ServerView {
  status = null;
  /** How far the server's clock is ahead of this machine's, in ms, and the uncertainty; null if unknown. */
  clock = null;
  /** Resolved when the first request to the server has ended. */
  asked = Promise.resolve();
  #api;
  #numbers;
  #timer = 0;
  #run = 0;
  #refused = "";
  #instruments = new Map();

  /** `numbers()` returns the page's own numbers: `{flags, position, rate, latency, events, attempts, comparison}`. */
  constructor(api, numbers) {
    this.#api = api;
    this.#numbers = numbers;
    const names = { flags: "Flags", rate: "Events", latency: "Latency p95", listener: "Listener", lag: "Lag", position: "Position", connections: "Connections", log: "Log" };
    show(
      byId("instruments"),
      Object.entries(names).map(([name, label]) => {
        const value = element("dd", { id: `instrument-${name}` }, "–");
        this.#instruments.set(name, value);
        return element("div", {}, element("dt", {}, label), value);
      }),
    );
    this.draw();
  }

  /** Load the status now, and every two seconds while the page is visible. */
  start() {
    clearTimeout(this.#timer);
    this.status = null;
    this.asked = this.#poll(++this.#run);
  }

  async #poll(run) {
    if (!document.hidden) {
      const asked = performance.now();
      let status = null;
      let refused = "";
      try {
        status = await this.#api.get("api/v1/status");
      } catch (error) {
        refused = error.message;
      }
      // The response to a previous credential.
      if (run !== this.#run) return;
      this.status = status;
      this.#refused = refused;
      if (status) this.#setClock(asked);
      this.draw();
    }
    this.#timer = setTimeout(() => this.#poll(run), POLL_MS);
  }

  #setClock(asked) {
    // The server read its clock somewhere during the exchange: the quickest exchange is the most accurate.
    const tookMs = performance.now() - asked;
    const aheadMs = Date.parse(this.status.now) - (Date.now() - tookMs / 2);
    if (this.clock === null || tookMs / 2 <= this.clock.uncertaintyMs) this.clock = { aheadMs, uncertaintyMs: tookMs / 2 };
    // Clocks drift, so an old measurement becomes less certain.
    else this.clock.uncertaintyMs *= 1.05;
  }

  draw() {
    const own = this.#numbers();
    const { status } = this;
    this.#set("flags", countText(own.flags));
    this.#set("position", own.position);
    this.#set("rate", `${own.rate < 10 ? own.rate.toFixed(1) : Math.round(own.rate)} /s`);
    this.#set("latency", own.latency === null ? "–" : durationText(own.latency));
    this.#set("listener", status ? status.listener.mode : "–", status ? MODES[status.listener.mode] : "");
    const lag = status?.log.lag ?? null;
    this.#set("lag", lag === null ? "–" : countText(lag), lag === null ? "" : lag > 100 ? "bad" : lag > 0 ? "warn" : "good");
    this.#set("connections", status ? countText(status.connections.sse.open + status.connections.websocket.open) : "–");
    this.#set("log", status && status.log.sizeBytes !== null ? bytesText(status.log.sizeBytes) : "–");
    if (byId("server").offsetParent !== null || !byId("server").childElementCount) this.#drawAll(own);
  }

  #set(name, text, tone = "") {
    const node = this.#instruments.get(name);
    setText(node, text);
    if (node.dataset.tone !== tone) node.dataset.tone = tone;
  }

  #drawAll(own) {
    const { status } = this;
    if (!status) {
      show(byId("server"), element("p", { class: "empty" }, this.#refused || "Loading the status…"));
      return;
    }
    const { listener, freshness, log, ring, connections } = status;
    const group = (title, rows) => element("section", { class: "group" }, element("h3", {}, title), element("dl", { class: "record" }, rows.filter(Boolean).map(([name, value, tone]) => element("div", {}, element("dt", {}, name), element("dd", { "data-tone": tone }, value)))));
    const unknown = "the database does not respond";
    show(
      byId("server"),
      group("Listener", [
        ["mode", listener.mode, MODES[listener.mode]],
        listener.reason ? ["reason", listener.reason] : null,
        ["freshness confirmed", freshness.fresh ? `${durationText(freshness.ageMs)} ago` : `not for ${durationText(freshness.ageMs)}`, freshness.fresh ? "good" : "bad"],
        ["notifications received", countText(listener.notifications)],
        ["reconnected", `${countText(listener.reconnects)} times`],
      ]),
      group("Change log", [
        ["catalog at", `#${status.position}`],
        ["newest in the database", log.newest === null ? unknown : `#${log.newest}`, log.newest === null ? "bad" : undefined],
        ["lag", log.lag === null ? "unknown" : countText(log.lag), log.lag ? "warn" : undefined],
        log.oldestAt === null ? null : ["oldest", `#${log.oldest}, ${durationText(Date.now() - Date.parse(log.oldestAt))} ago`],
        ["on disk", log.sizeBytes === null ? "unknown" : bytesText(log.sizeBytes)],
        log.clockAheadMs === null ? null : ["database's clock", `${log.clockAheadMs < 0 ? "−" : "+"}${durationText(Math.abs(log.clockAheadMs))}`, Math.abs(log.clockAheadMs) > 1000 ? "warn" : undefined],
        ["log", log.id],
      ]),
      group("Connections", [
        ["SSE", limitText(connections.sse)],
        ["WebSocket", limitText(connections.websocket)],
        ["catching up", countText(connections.behind)],
        ["waiting handshakes", countText(connections.waiting)],
        ["events delivered", countText(status.deliveries)],
        ["resyncs", `${countText(status.resyncs)} times`],
        ["paused (slow)", `${countText(status.pauses)} times`],
      ]),
      group("Memory", [
        ["flags", `${countText(status.catalog.flags)} in ${status.catalog.schemas.join(", ") || "no schema"}`],
        ["latest events", `${countText(ring.events)} of ${countText(ring.limitEvents)}`],
        ["size", `${bytesText(ring.sizeBytes)} of ${bytesText(ring.limitBytes)}`],
        ["uptime", durationText(Date.parse(status.now) - Date.parse(status.startedAt))],
        ["version", status.version],
      ]),
      group("This page", [
        own.comparison === null ? null : ["its flags", own.comparison.isEqual ? `verified equal to the server's, ${agoText(Date.now() - own.comparison.at)}` : "differ from the server's", own.comparison.isEqual ? "good" : "bad"],
        ["changes seen", countText(own.events)],
        ["connected", `${countText(own.attempts)} times`],
        this.clock === null ? null : ["server's clock", `${this.clock.aheadMs < 0 ? "−" : "+"}${durationText(Math.abs(this.clock.aheadMs))}, ± ${durationText(this.clock.uncertaintyMs)}`],
      ]),
    );
  }
}

const limitText = ({ open, limit, refused }) => `${countText(open)} of ${countText(limit)}${refused ? `, ${countText(refused)} refused` : ""}`;
