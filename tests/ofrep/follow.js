// OpenFeature's web provider, controlled by one command per line on standard input; messages and results are JSON
// objects, one per line. Arguments: the server's address, the targeting key, and "held" if the stream must not be opened
// before the command `release`, and a credential.
import { createInterface } from "node:readline";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { EventSource } from "eventsource";

const [baseUrl, targetingKey, held, credential] = process.argv.slice(2);
const print = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

let release;
const released = held === "held" ? new Promise((resolve) => (release = resolve)) : undefined;

// Node has none. Each opened stream is reported, as proof that the changes arrive over it.
globalThis.EventSource = class extends EventSource {
  constructor(url) {
    const open = async (address, init) => {
      await released;
      return fetch(address, init);
    };
    super(url, { fetch: open });
    this.addEventListener("open", () => print({ type: "stream", url: String(url) }));
  }
};

const provider = new OFREPWebProvider({
  baseUrl,
  pollInterval: 0,
  cacheMode: "disabled",
  headers: credential ? [["Authorization", `Bearer ${credential}`]] : [],
  fetchImplementation: async (request, init) => {
    const query = new URL(request.url).searchParams;
    const response = await fetch(request, init);
    print({ type: "fetched", status: response.status, etag: query.get("flagConfigEtag") });
    return response;
  },
});

OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (event) =>
  print({ type: "changed", flags: event.flagsChanged }),
);
OpenFeature.addHandler(ProviderEvents.Stale, (event) => print({ type: "stale", message: event.message }));
OpenFeature.addHandler(ProviderEvents.Error, (event) => print({ type: "error", message: event.message }));

await OpenFeature.setContext({ targetingKey, country: "US" });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
print({ type: "ready" });

const commands = {
  boolean: (key) => client.getBooleanDetails(key, false),
  string: (key) => client.getStringDetails(key, "default"),
  release: () => release(),
  context: (country) => OpenFeature.setContext({ targetingKey, country }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(" ");
  print({ type: "result", result: (await commands[name](argument)) ?? null });
}
await OpenFeature.close();
