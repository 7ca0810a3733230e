// Requests to the server, with the reader's credential.
import { problemOf } from "./stream.js";

export class Api {
  #credential;

  /** `credential()` returns the present credential, or null. */
  constructor(credential) {
    this.#credential = credential;
  }

  async get(path) {
    return (await this.ask(path)).document;
  }

  /** The response and its position, null without one: `{document, position}`. */
  post(path, document) {
    return this.ask(path, { method: "POST", body: JSON.stringify(document), headers: { "content-type": "application/json" } });
  }

  put(path, document) {
    return this.ask(path, { method: "PUT", body: JSON.stringify(document), headers: { "content-type": "application/json" } });
  }

  /** Like `post`. Throws an error whose message is a sentence and whose `problem` is the server's. */
  async ask(path, options = {}) {
    const headers = { accept: "application/json", ...options.headers };
    const credential = this.#credential();
    if (credential) headers.authorization = `Bearer ${credential}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(10_000) });
    } catch (error) {
      throw new Error("The server cannot be reached.", { cause: error });
    }
    if (!response.ok) {
      const { sentence, problem } = await problemOf(response);
      throw Object.assign(new Error(sentence), { problem });
    }
    return { document: await response.json(), position: response.headers.get("flagent-position") };
  }
}
