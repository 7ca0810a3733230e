// The whole page: the stream feeds the catalog, and the catalog and the events feed the views.
import { Api } from "./api.js";
import { Catalog } from "./catalog.js";
import { Credential } from "./credential.js";
import { digestOf } from "./digest.js";
import { byId, oncePerFrame, setText } from "./dom.js";
import { EvaluationForm } from "./evaluation.js";
import { EventList } from "./event-list.js";
import { FlagDetail } from "./flag-detail.js";
import { FlagHistory } from "./flag-history.js";
import { FlagList } from "./flag-list.js";
import { FlagUsage } from "./flag-usage.js";
import { LiveTable } from "./live-table.js";
import { readPast } from "./past.js";
import { Rows } from "./rows.js";
import { ServerView } from "./server.js";
import { Stream } from "./stream.js";
import { watchTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { durationText, elapsedMs, plural, typeOf } from "./words.js";

const ANNOUNCE_MS = 3_000;
// The shortest time between two reloads of a copy whose digest differs.
const MISMATCH_MS = 60_000;
const WIDE = matchMedia("(min-width: 960px)");

const path = document.documentElement.dataset.stream;
const address = new URL(`${path}?envelope=true&stamps=true`, document.baseURI);
const stream = path ? new Stream(new URL(`${address}&snapshot=true`), { onState, onSnapshot, onEvent, onKeepAlive }) : null;

const catalog = new Catalog();
const credential = new Credential(() => begin());
const api = new Api(() => credential.value);
const timeline = new Timeline();
const flags = new FlagList(catalog, ({ id, flag, schema }) => openFlag(id, flag.key, schema));
const flagHistory = new FlagHistory(api, (key, schema, position) => {
  go("evaluate");
  evaluation.prepare(key, position);
});
/** Turn a flag on or off, where the server allows it; the reason if that fails, else an empty text. */
async function switchTo(flag, enabled) {
  try {
    await api.put(`api/v1/demo/flags/${encodeURIComponent(flag.key)}`, { enabled });
    return "";
  } catch (error) {
    return error.message;
  }
}
const usage = document.documentElement.dataset.usage ? new FlagUsage(api) : null;
const detail = new FlagDetail(catalog, flagHistory, usage, {
  switchTo: document.documentElement.dataset.switch ? switchTo : null,
  evaluate(flag) {
    go("evaluate");
    evaluation.prepare(flag.key);
  },
  searchFor(text) {
    flags.searchFor(text);
    go("flags");
  },
  back: () => go("flags"),
});
const events = new EventList(openFlag);
const liveTable = new LiveTable(address, () => credential.value);
const rows = new Rows(api, address, {
  onTables: (hidden) => events.hideTables(hidden),
  onRow,
  onPast: (past, masked) => {
    events.addPastRows(past, masked);
    timeline.addPast(past.map(momentOf));
  },
  onGap: (sentence) => events.note(sentence),
  onForget: (name) => events.forgetTable(name),
  onNames: (names) => liveTable.setTables(names),
  oldest,
});
const evaluation = new EvaluationForm(catalog, api);
let seen = 0;
let comparison = null; // {isEqual, position, at}: the last comparison of all flags with the server's digest
let mismatchAt = 0;
const server = new ServerView(api, () => ({
  flags: catalog.entries.size,
  position: `#${catalog.position}`,
  rate: timeline.rate(),
  latency: timeline.p95(),
  events: seen,
  attempts: stream?.attempts ?? 0,
  comparison,
}));
const redraw = oncePerFrame(() => {
  flags.changed();
  detail.changed();
});

// -- the stream ---------------------------------------------------------------------------------------------------

function begin() {
  catalog.clear();
  events.clear();
  comparison = null;
  redraw();
  server.start();
  liveTable.stop();
  if (stream) {
    stream.start(credential.value);
    rows.start(credential.value);
  } else {
    showState("stopped", "the event stream of this server is disabled (FLAGENT_SSE_ENABLED)");
  }
}

function onSnapshot(list, position, why) {
  if (!catalog.isLoaded) showPast(list, position);
  if (why) events.note(`The stream was resynchronized (${why.replaceAll("_", " ")}); events in between are not shown.`);
  const isFirst = !catalog.isLoaded;
  catalog.load(list, position);
  redraw();
  if (isFirst) route(false);
}

/** Fill the list and the timeline with the latest events before the snapshot; if that fails, they start empty. */
async function showPast(list, position) {
  const begun = stream.attempts;
  const schemas = new Set(list.map((flag) => flag.schema ?? ""));
  byId("event-list").setAttribute("aria-busy", "true");
  try {
    const past = await readPast(api, address, credential.value, schemas.size ? schemas : [""], position, await oldest());
    // A reconnection in the meantime may have used another credential.
    if (begun !== stream.attempts) return;
    events.addPast(past);
    timeline.addPast(past.map(([event]) => momentOf(event)));
  } catch (error) {
    console.info("earlier events are not shown:", error.message);
  } finally {
    byId("event-list").setAttribute("aria-busy", "false");
  }
}

/** The oldest position of the change log, null if unknown. */
async function oldest() {
  await server.asked;
  return server.status?.log.oldest ?? null;
}

function onEvent(event, isReplay) {
  const receivedAt = Date.now();
  const { tone } = typeOf(event.type);
  const change = catalog.apply(event, receivedAt, tone);
  if (change === null) return;
  seen++;
  events.addFlag(event, change, isReplay);
  follow(event, isReplay, receivedAt);
  if (catalog.isAmbiguous) stream.restart();
  redraw();
}

function onRow(event, isReplay, masked) {
  seen++;
  events.addRow(event, isReplay, masked);
  follow(event, isReplay, Date.now());
}

/** Handle what events of flags and of rows have in common. */
function follow(event, isReplay, receivedAt) {
  const { tone } = typeOf(event.type);
  timeline.add(isReplay ? Date.parse(event.committedAt) : receivedAt, tone, isReplay ? null : latencyOf(event, receivedAt));
  announce(event);
}

const momentOf = (event) => [Date.parse(event.committedAt), typeOf(event.type).tone];

/** The latency from commit to delivery: by the server's clocks until it was sent, then by ours, if the difference is known. */
function latencyOf(event, receivedAt) {
  if (!event.sentAt) return null;
  const onTheWay = server.clock === null ? 0 : receivedAt + server.clock.aheadMs - Date.parse(event.sentAt);
  return elapsedMs(event.committedAt, event.sentAt) + Math.max(0, onTheWay);
}

function onKeepAlive({ position, digest }) {
  if (BigInt(position) > BigInt(catalog.position)) catalog.position = position;
  if (!digest || !catalog.isLoaded) return;
  const isEqual = digestOf([...catalog.entries.values()].map((entry) => entry.flag)) === digest;
  comparison = { isEqual, position, at: Date.now() };
  if (isEqual || Date.now() - mismatchAt < MISMATCH_MS) return;
  mismatchAt = Date.now();
  events.note("The flags shown differ from the server's; they are loaded again.");
  stream.restart();
}

// -- the state of the connection ----------------------------------------------------------------------------------

const WORDS = { connecting: "Connecting", live: "Live", stale: "Stale", waiting: "Disconnected", refused: "Locked", stopped: "Off" };

function onState() {
  const { name, reason } = stream.state;
  if (name === "refused") credential.ask(reason);
  showState(name, reason);
}

function showState(name, reason) {
  const node = byId("state");
  if (node.dataset.state !== name) node.dataset.state = name;
  setText(byId("state-word"), WORDS[name]);
  let text = reason;
  if (name === "waiting") text = `${reason} · reconnecting in ${durationText(Math.max(0, stream.state.retryAt - Date.now()))}`;
  if (name !== "live" && name !== "connecting" && catalog.isLoaded) text += " · the flags shown may be old";
  if (name === "live" || (name === "connecting" && !reason)) text = "";
  setText(byId("state-reason"), text);
  document.body.classList.toggle("is-old", catalog.isLoaded && name !== "live" && name !== "connecting");
  document.title = name === "live" ? "flagent-cdc" : `${WORDS[name]} – flagent-cdc`;
}

setInterval(() => {
  if (stream?.state.name === "waiting") onState();
  server.draw();
  flags.tick();
}, 500);
addEventListener("online", () => {
  stream?.reconnect();
  rows.reconnect();
  liveTable.reconnect();
});
byId("state").addEventListener("click", () => reconnect());

function reconnect() {
  if (stream?.state.name === "refused") credential.ask(stream.state.reason);
  else {
    stream?.reconnect();
    rows.reconnect();
    liveTable.reconnect();
  }
}

// -- announcements for screen readers, several events at a time ---------------------------------------------------

let pending = [];
let announceTimer = 0;

function announce(event) {
  pending.push(`${event.flagKey ?? event.table} ${typeOf(event.type).word}`);
  if (announceTimer) return;
  announceTimer = setTimeout(() => {
    setText(byId("announcer"), pending.length > 2 ? `${pending[0]}, and ${plural(pending.length - 1, "more event")}` : pending.join(", "));
    pending = [];
    announceTimer = 0;
  }, ANNOUNCE_MS);
}

// -- views and keys -----------------------------------------------------------------------------------------------

const HOME = "#flags";
let side = "events";

function openFlag(id, key, schema, takesFocus = true) {
  detail.open(id, key, schema);
  setText(byId("tab-flag"), key);
  go("flag", takesFocus);
}

/** Show the view in the URL, such as `#events` or `#flag/checkout`, so that bookmarks, links and the back button work. */
function route(takesFocus = true) {
  const [name, key] = (location.hash || HOME).slice(1).split("/", 2);
  if (name === "flag" && key && catalog.isLoaded) {
    const wanted = decoded(key);
    const entry = catalog.find(wanted);
    openFlag(entry?.id ?? "", wanted, entry?.schema ?? "", takesFocus);
  } else if (document.querySelector(`[data-tab="${CSS.escape(name)}"]`)) {
    go(name, takesFocus);
  }
}
addEventListener("popstate", () => route());

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoded, so typed by hand: the key itself.
  }
}

/** Show a view; on a wide screen the flags are visible beside it. */
function go(name, takesFocus = true) {
  if (name !== "flags") side = name;
  const address = name === "flag" && detail.key !== null ? `#flag/${encodeURIComponent(detail.key)}` : `#${name}`;
  if ((location.hash || HOME) !== address) history.pushState(null, "", address);
  document.body.dataset.view = name;
  document.body.dataset.side = side;
  // A phone has no tab for one flag: it belongs to the tab of all flags.
  const shown = WIDE.matches ? side : name === "flag" ? "flags" : name;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const isOn = tab.dataset.tab === shown;
    tab.setAttribute("aria-selected", String(isOn));
    tab.tabIndex = isOn ? 0 : -1;
  }
  if (name === "server") server.draw();
  if (name === "evaluate" && detail.key !== null) evaluation.suggest(detail.key);
  if (!takesFocus) return;
  if (name === "flags") flags.focus();
  else if (name !== "evaluate") byId(name).focus({ preventScroll: true });
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => go(tab.dataset.tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...document.querySelectorAll("[data-tab]")].filter((each) => each.offsetParent !== null);
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    go(next.dataset.tab);
    next.focus();
  });
}
WIDE.addEventListener("change", () => go(document.body.dataset.view));

const KEYS = {
  "/": () => {
    if (!WIDE.matches) go("flags");
    byId("search").focus();
  },
  f: () => go("flags"),
  e: () => go("events"),
  v: () => {
    go("evaluate");
    const key = byId("evaluate-key");
    key.focus();
    // It may hold the open flag: what is typed replaces that.
    key.select();
  },
  s: () => go("server"),
  p: () => events.togglePause(),
  r: reconnect,
  t: () => byId("theme").click(),
  "?": () => byId("help").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else go(document.body.dataset.view === "flag" && WIDE.matches ? "events" : "flags");
  } else if (!isTyping && event.key in KEYS) {
    event.preventDefault();
    KEYS[event.key]();
  }
});
byId("open-help").addEventListener("click", () => byId("help").showModal());

watchTheme(() => timeline.recolour());
document.body.dataset.side = side;
for (const tab of document.querySelectorAll("[data-tab]")) tab.setAttribute("aria-selected", String(tab.dataset.tab === (WIDE.matches ? side : "flags")));
begin();
