/** Whose flags a client receives. */
import type { RealtimeClient } from "./realtime-client.js";

/** The credential of a request beside the client's connection. */
export async function credentialOf({ apiKey }: RealtimeClient): Promise<string | null> {
  return typeof apiKey === "function" ? apiKey() : apiKey;
}

const asked = new WeakMap<RealtimeClient, Promise<string>>();

/** The credential, null without one. A function is called once, when the client starts, and the first connection takes what it has returned. */
export function identityOf(client: RealtimeClient): string | null | Promise<string> {
  const { apiKey } = client;
  if (typeof apiKey !== "function") return apiKey;
  const former = asked.get(client);
  if (former !== undefined) return former;
  const identity = client.firstKey = started(client).then(apiKey);
  asked.set(client, identity);
  identity.catch(() => {
    asked.delete(client);
    client.firstKey = null;
  });
  return identity;
}

async function started(client: RealtimeClient): Promise<void> {
  if (!client.isOffline) return;
  await new Promise<void>((resolve) => {
    const companion = {
      start: () => {
        client.removeCompanion(companion);
        resolve();
      },
      offline: () => undefined,
      close: () => undefined,
    };
    client.addCompanion(companion);
  });
}
