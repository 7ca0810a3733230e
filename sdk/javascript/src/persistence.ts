/** Keeps a store's flags in a browser. */
import { SavedFlagsIgnored, type Persistence } from "./flag-cache.js";

export { SavedFlagsIgnored };
export type { Persistence };

const PREFIX = "flagent:";

/** Keeps the flags in `localStorage`, up to its limit of a few mebibytes; a full storage is reported to `onError`. */
export class LocalStoragePersistence implements Persistence {
  readonly #storage: Storage;

  constructor(storage: Storage = globalThis.localStorage) {
    if (storage === undefined) throw new TypeError("this platform has no localStorage; pass a storage, or use IndexedDbPersistence");
    this.#storage = storage;
  }

  load(key: string): string | null {
    return this.#storage.getItem(PREFIX + key);
  }

  save(key: string, text: string): void {
    this.#storage.setItem(PREFIX + key, text);
  }
}

const STORE = "flags";

/** Keeps the flags in IndexedDB, for more than `localStorage` takes; also in workers. */
export class IndexedDbPersistence implements Persistence {
  readonly #name: string;

  /** `name` is the name of the database. */
  constructor(name = "flagent") {
    if (globalThis.indexedDB === undefined) throw new TypeError("this platform has no IndexedDB");
    this.#name = name;
  }

  load(key: string): Promise<string | null> {
    return this.#run("readonly", (store) => store.get(key)).then((text) => (typeof text === "string" ? text : null));
  }

  async save(key: string, text: string): Promise<void> {
    await this.#run("readwrite", (store) => store.put(text, key));
  }

  /** One transaction of its own, so that no open connection keeps another tab from upgrading or deleting the database. */
  #run(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open(this.#name, 1);
      opening.onupgradeneeded = () => void opening.result.createObjectStore(STORE);
      opening.onerror = () => reject(opening.error);
      opening.onblocked = () => reject(new Error(`the database ${this.#name} is blocked by another tab`));
      opening.onsuccess = () => {
        const database = opening.result;
        const transaction = database.transaction(STORE, mode);
        const request = act(transaction.objectStore(STORE));
        const ended = () => {
          database.close();
          if (transaction.error !== null) reject(transaction.error);
          else resolve(request.result);
        };
        transaction.oncomplete = ended;
        transaction.onabort = ended;
      };
    });
  }
}
