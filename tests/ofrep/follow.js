// OpenFeature's web provider, told by one command per line on standard input what to do and answering with one JSON
// object per line. Arguments: the server's address, the targeting key, and "held" where the stream is not to be opened
// before the command `release`.
import { createInterface } from "node:readline";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { EventSource } from "eventsource";

const [baseUrl, targetingKey, held] = process.argv.slice(2);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

let release;
const released = held === "held" ? new Promise((resolve) => (release = resolve)) : undefined;

// Browsers have one. What it opens is told, as proof that the changes come over the stream.
globalThis.EventSource = class extends EventSource {
  constructor(url) {
    const open = async (address, init) => {
      await released;
      return fetch(address, init);
    };
    super(url, { fetch: open });
    this.addEventListener("open", () => say({ type: "stream", url: String(url) }));
  }
};

const provider = new OFREPWebProvider({
  baseUrl,
  pollInterval: 0,
  cacheMode: "disabled",
  fetchImplementation: async (request, init) => {
    const query = new URL(request.url).searchParams;
    const response = await fetch(request, init);
    say({ type: "fetched", status: response.status, etag: query.get("flagConfigEtag") });
    return response;
  },
});

OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (event) =>
  say({ type: "changed", flags: event.flagsChanged }),
);
OpenFeature.addHandler(ProviderEvents.Stale, (event) => say({ type: "stale", message: event.message }));
OpenFeature.addHandler(ProviderEvents.Error, (event) => say({ type: "error", message: event.message }));

await OpenFeature.setContext({ targetingKey, country: "US" });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
say({ type: "ready" });

const commands = {
  boolean: (key) => client.getBooleanDetails(key, false),
  string: (key) => client.getStringDetails(key, "default"),
  release: () => release(),
  context: (country) => OpenFeature.setContext({ targetingKey, country }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(" ");
  say({ type: "answer", answer: (await commands[name](argument)) ?? null });
}
await OpenFeature.close();
