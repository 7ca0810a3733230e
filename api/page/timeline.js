// Events and their latency over time, drawn on a canvas.
import { byId, element, setText, show } from "./dom.js";
import { clockText, durationText, plural } from "./words.js";

const MOST_SAMPLES = 20_000;
const FRAME_MS = 250;
const BAR_PX = 6;
const LOW_MS = 0.5;
const HIGH_MS = 10_000;
const TONES = ["plain", "share", "segment", "variant", "off", "on", "row", "good", "bad"];
const RULE_PX = 15;
const RULES = [
  [1, "1 ms"],
  [10, "10 ms"],
  [100, "100 ms"],
  [1_000, "1 s"],
];

export class Timeline {
  #canvas = byId("chart");
  #tip = byId("chart-tip");
  #samples = []; // {at, tone, latencyMs}, by time; latencyMs is null if unknown
  #span = 60_000;
  #colours = null;
  #drawnAt = 0;
  #pointer = null;

  constructor() {
    for (const button of document.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => {
        this.#span = Number(button.dataset.span) * 1000;
        for (const each of document.querySelectorAll("[data-span]")) each.setAttribute("aria-pressed", String(each === button));
        this.#drawnAt = 0;
      });
    }
    this.#canvas.addEventListener("pointermove", (event) => {
      this.#pointer = event.offsetX;
      this.#point();
    });
    this.#canvas.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.#tip.hidden = true;
    });
    new ResizeObserver(() => (this.#drawnAt = 0)).observe(this.#canvas);
    const frame = (now) => {
      if (now - this.#drawnAt >= FRAME_MS) {
        this.#drawnAt = now;
        this.#draw();
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  add(at, tone, latencyMs) {
    this.#samples.push({ at, tone, latencyMs });
    if (this.#samples.length > MOST_SAMPLES) this.#samples.splice(0, MOST_SAMPLES / 10);
  }

  /** Add events from before the page was opened: `[at, tone]`. */
  addPast(past) {
    const samples = past.map(([at, tone]) => ({ at, tone, latencyMs: null }));
    this.#samples = samples.concat(this.#samples).sort((a, b) => a.at - b.at).slice(-MOST_SAMPLES);
  }

  /** The colours of the page have changed. */
  recolour() {
    this.#colours = null;
    this.#drawnAt = 0;
  }

  /** The 95th percentile of the latency in the visible span, null if there are too few events for one. */
  p95() {
    return p95Of(this.#latencies(Date.now() - this.#span));
  }

  /** Events per second over the last ten seconds. */
  rate() {
    const since = Date.now() - 10_000;
    let count = 0;
    for (let place = this.#samples.length - 1; place >= 0 && this.#samples[place].at > since; place--) count++;
    return count / 10;
  }

  #latencies(since) {
    const found = [];
    for (const { at, latencyMs } of this.#samples) if (at >= since && latencyMs !== null) found.push(latencyMs);
    return found.sort((a, b) => a - b);
  }

  #draw() {
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const colours = (this.#colours ??= readColours());
    const now = Date.now();
    const since = now - this.#span;
    const middle = Math.round(height * 0.42);
    const foot = height - 16;
    const x = (at) => ((at - since) / this.#span) * width;

    // An event stays in its bar, otherwise bars would flicker as they move.
    const perBar = Math.max(1, (this.#span / width) * BAR_PX);
    const bars = new Map();
    let count = 0;
    for (const { at, tone } of this.#samples) {
      if (at < since) continue;
      count++;
      const place = Math.floor(at / perBar);
      let bar = bars.get(place);
      if (!bar) bars.set(place, (bar = { total: 0, tones: {} }));
      bar.total++;
      bar.tones[tone] = (bar.tones[tone] ?? 0) + 1;
    }
    const most = Math.max(4, ...[...bars.values()].map((bar) => bar.total));
    for (const [place, bar] of bars) {
      // A square root scale: a single event stays visible beside bursts of a hundred.
      const whole = Math.sqrt(bar.total / most) * (middle - 22);
      let base = middle - 6;
      for (const tone of TONES) {
        if (!bar.tones[tone]) continue;
        const tall = (bar.tones[tone] / bar.total) * whole;
        pen.fillStyle = colours[tone];
        pen.fillRect(x(place * perBar), base - tall, BAR_PX - 1.5, Math.max(1, tall - 0.5));
        base -= tall;
      }
    }
    pen.font = colours.font;
    pen.textBaseline = "alphabetic";
    pen.fillStyle = colours.line;
    pen.fillRect(0, middle - 5.5, width, 1);
    const y = (ms) => foot - ((Math.log10(Math.min(HIGH_MS, Math.max(LOW_MS, ms))) - Math.log10(LOW_MS)) / (Math.log10(HIGH_MS) - Math.log10(LOW_MS))) * (foot - middle - 4);
    const labels = [];
    let free = Infinity;
    for (const [ms, label] of RULES) {
      const at = Math.round(y(ms)) + 0.5;
      if (free - at < RULE_PX) continue;
      free = at;
      pen.fillStyle = colours.line;
      pen.fillRect(0, at, width, 1);
      labels.push([label, at]);
    }
    for (const { at, tone, latencyMs } of this.#samples) {
      if (at < since || latencyMs === null) continue;
      pen.fillStyle = colours[tone];
      pen.beginPath();
      pen.arc(x(at), y(latencyMs), 2, 0, 7);
      pen.fill();
    }
    pen.textAlign = "left";
    for (const [label, at] of labels) {
      // On an opaque background, so that dots do not make it unreadable.
      pen.fillStyle = colours.panel;
      pen.fillRect(0, at - 12, pen.measureText(label).width + 5, 11);
      pen.fillStyle = colours.faint;
      pen.fillText(label, 2, at - 3);
    }
    pen.fillText(`max ${most} per bar`, 2, 10);
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      pen.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
      pen.fillText(part === 1 ? "now" : `−${spanText(this.#span * (1 - part))}`, part * width, height - 3);
    }
    const latencies = this.#latencies(since);
    const half = percentile(latencies, 0.5);
    const late = p95Of(latencies);
    setText(
      byId("timeline-summary"),
      plural(count, "event") + (half === null ? "" : ` · commit to delivery p50 ${durationText(half)}${late === null ? "" : `, p95 ${durationText(late)}`}`),
    );
    this.#point();
  }

  #point() {
    if (this.#pointer === null) return;
    const width = this.#canvas.clientWidth;
    const at = Date.now() - this.#span * (1 - this.#pointer / width);
    const reach = (this.#span / width) * BAR_PX;
    const near = this.#samples.filter((sample) => Math.abs(sample.at - at) <= reach);
    this.#tip.hidden = near.length === 0;
    if (!near.length) return;
    const latencies = near.flatMap((sample) => (sample.latencyMs === null ? [] : [sample.latencyMs]));
    show(this.#tip, element("b", {}, clockText(new Date(at)).slice(0, 8)), ` ${plural(near.length, "event")}`, latencies.length ? `, at most ${durationText(Math.max(...latencies))}` : "");
    this.#tip.style.setProperty("left", `${Math.min(this.#pointer + 12, width - this.#tip.offsetWidth)}px`);
  }
}

/** Below this number the 95th percentile would be the slowest event, or nearly. */
const FEWEST_FOR_P95 = 20;

const p95Of = (sorted) => (sorted.length < FEWEST_FOR_P95 ? null : percentile(sorted, 0.95));

function percentile(sorted, part) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] : null;
}

function spanText(ms) {
  return ms < 60_000 ? `${ms / 1000} s` : `${Number((ms / 60_000).toFixed(1))} min`;
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colours = Object.fromEntries(TONES.map((tone) => [tone, style.getPropertyValue(`--tone-${tone}`).trim()]));
  colours.line = style.getPropertyValue("--line").trim();
  colours.panel = style.getPropertyValue("--panel").trim();
  colours.faint = style.getPropertyValue("--faint").trim();
  colours.font = `10px ${style.getPropertyValue("--mono").trim()}`;
  return colours;
}
