// What the server says about itself: the strip of instruments, and the view of all numbers.
import { byId, element, setText, show } from "./dom.js";
import { agoText, bytesText, countText, durationText } from "./words.js";

const POLL_MS = 2_000;
const MODES = { listening: "good", polling: "warn", starting: "warn", disconnected: "bad" };

export class ServerView {
  status = null;
  /** By how many milliseconds the server's clock is ahead of this machine's, and how sure that is; null: not known. */
  clock = null;
  /** Fulfilled when the server has answered for the first time, or has not. */
  asked = Promise.resolve();
  #api;
  #numbers;
  #timer = 0;
  #run = 0;
  #refused = "";
  #instruments = new Map();

  /** `numbers()` gives what the page itself knows: `{flags, position, rate, latency, events, attempts, proof}`. */
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

  /** Ask now, and again every two seconds while the page is looked at. */
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
      // Asked with the credential of before: not for this reader.
      if (run !== this.#run) return;
      this.status = status;
      this.#refused = refused;
      if (status) this.#setClock(asked);
      this.draw();
    }
    this.#timer = setTimeout(() => this.#poll(run), POLL_MS);
  }

  #setClock(asked) {
    // The answer was written somewhere between question and answer; the quickest exchange tells best.
    const tookMs = performance.now() - asked;
    const aheadMs = Date.parse(this.status.now) - (Date.now() - tookMs / 2);
    if (this.clock === null || tookMs / 2 <= this.clock.sureMs) this.clock = { aheadMs, sureMs: tookMs / 2 };
    // Clocks drift: what was sure once becomes less so.
    else this.clock.sureMs *= 1.05;
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
      show(byId("server"), element("p", { class: "empty" }, this.#refused || "Asking the server…"));
      return;
    }
    const { listener, freshness, log, ring, connections } = status;
    const group = (title, rows) => element("section", { class: "group" }, element("h3", {}, title), element("dl", { class: "record" }, rows.filter(Boolean).map(([name, value, tone]) => element("div", {}, element("dt", {}, name), element("dd", { "data-tone": tone }, value)))));
    const unknown = "the database does not answer";
    show(
      byId("server"),
      group("Listener", [
        ["hears by", listener.mode, MODES[listener.mode]],
        listener.reason ? ["because", listener.reason] : null,
        ["proven current", freshness.fresh ? `${durationText(freshness.ageMs)} ago` : `not for ${durationText(freshness.ageMs)}`, freshness.fresh ? "good" : "bad"],
        ["notifications heard", countText(listener.notifications)],
        ["reconnected", `${countText(listener.reconnects)} times`],
      ]),
      group("Log", [
        ["catalog at", `#${status.position}`],
        ["newest in the database", log.newest === null ? unknown : `#${log.newest}`, log.newest === null ? "bad" : undefined],
        ["behind by", log.lag === null ? "not known" : countText(log.lag), log.lag ? "warn" : undefined],
        log.oldestAt === null ? null : ["reaches back to", `#${log.oldest}, ${durationText(Date.now() - Date.parse(log.oldestAt))} ago`],
        ["on disk", log.sizeBytes === null ? "not known" : bytesText(log.sizeBytes)],
        log.clockAheadMs === null ? null : ["database's clock", `${log.clockAheadMs < 0 ? "−" : "+"}${durationText(Math.abs(log.clockAheadMs))}`, Math.abs(log.clockAheadMs) > 1000 ? "warn" : undefined],
        ["log", log.id],
      ]),
      group("Connections", [
        ["SSE", doorText(connections.sse)],
        ["WebSocket", doorText(connections.websocket)],
        ["catching up", countText(connections.behind)],
        ["waiting to come in", countText(connections.waiting)],
        ["events delivered", countText(status.deliveries)],
        ["started over", `${countText(status.resyncs)} times`],
        ["paused for slowness", `${countText(status.pauses)} times`],
      ]),
      group("Memory", [
        ["flags", `${countText(status.catalog.flags)} in ${status.catalog.schemas.join(", ") || "no schema"}`],
        ["latest events", `${countText(ring.events)} of ${countText(ring.limitEvents)}`],
        ["their size", `${bytesText(ring.sizeBytes)} of ${bytesText(ring.limitBytes)}`],
        ["up for", durationText(Date.parse(status.now) - Date.parse(status.startedAt))],
        ["version", status.version],
      ]),
      group("This page", [
        own.proof === null ? null : ["its flags", own.proof.isEqual ? `proven equal to the server's, ${agoText(Date.now() - own.proof.at)}` : "differ from the server's", own.proof.isEqual ? "good" : "bad"],
        ["changes seen", countText(own.events)],
        ["connected", `${countText(own.attempts)} times`],
        this.clock === null ? null : ["server's clock", `${this.clock.aheadMs < 0 ? "−" : "+"}${durationText(Math.abs(this.clock.aheadMs))}, give or take ${durationText(this.clock.sureMs)}`],
      ]),
    );
  }
}

const doorText = ({ open, limit, refused }) => `${countText(open)} of ${countText(limit)}${refused ? `, ${countText(refused)} refused` : ""}`;
