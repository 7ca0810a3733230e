// Requests to the server, with the reader's credential.
import { problemOf } from "./stream.js";

export class Api {
  #credential;

  /** `credential()` gives the present one, null where there is none. */
  constructor(credential) {
    this.#credential = credential;
  }

  get(path) {
    return this.#ask(path, {});
  }

  post(path, document) {
    return this.#ask(path, { method: "POST", body: JSON.stringify(document), headers: { "content-type": "application/json" } });
  }

  /** Raises an error whose message is a sentence. */
  async #ask(path, options) {
    const headers = { accept: "application/json", ...options.headers };
    const credential = this.#credential();
    if (credential) headers.authorization = `Bearer ${credential}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(10_000) });
    } catch (error) {
      throw new Error("The server cannot be reached.", { cause: error });
    }
    if (!response.ok) throw new Error(await problemOf(response));
    return response.json();
  }
}
