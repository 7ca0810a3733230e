/**
 * The text/event-stream parser of the HTML standard (section 9.2.6), with two outputs that a browser's EventSource
 * does not expose: comments, in which the server reports its freshness, and ids without an event.
 */
import { MessageTooLarge } from "./errors.js";

export type SseItem =
  | { readonly kind: "event"; readonly event: string; readonly data: string; readonly lastEventId: string }
  | { readonly kind: "comment"; readonly text: string }
  | { readonly kind: "retry"; readonly ms: number }
  | { readonly kind: "id"; readonly lastEventId: string };

export class SseParser {
  /** The id to resume after; it moves when a block is complete. */
  lastEventId = "";
  readonly #decoder = new TextDecoder("utf-8");
  /** The beginning of a line. */
  #held = "";
  #afterCarriageReturn = false;
  #name = "";
  #data: string | null = null;
  #id: string | undefined;

  readonly #maxLength: number;

  /** `maxLength` is the maximum length of one block, in characters; it bounds the memory that a hostile server can claim. */
  constructor(maxLength = 64 * 1024 * 1024) {
    this.#maxLength = maxLength;
  }

  /** Takes bytes as received and returns the items that they complete. An unfinished block at the end of the stream is dropped. */
  push(bytes: Uint8Array): SseItem[] {
    const items: SseItem[] = [];
    const text = this.#decoder.decode(bytes, { stream: true });
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit === 0x0a && this.#afterCarriageReturn) {
        this.#afterCarriageReturn = false;
        start = at + 1;
        continue;
      }
      this.#afterCarriageReturn = unit === 0x0d;
      if (unit !== 0x0a && unit !== 0x0d) continue;
      const line = this.#held + text.slice(start, at);
      this.#held = "";
      this.#line(line, items);
      start = at + 1;
    }
    this.#held += text.slice(start);
    this.#check();
    return items;
  }

  #line(line: string, items: SseItem[]): void {
    if (line === "") return this.#dispatch(items);
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (colon === 0) items.push({ kind: "comment", text: value });
    else if (field === "data") {
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
      this.#check();
    } else if (field === "event") this.#name = value;
    else if (field === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (field === "retry" && /^[0-9]+$/.test(value)) items.push({ kind: "retry", ms: Number(value) });
  }

  #dispatch(items: SseItem[]): void {
    if (this.#id !== undefined) this.lastEventId = this.#id;
    const { lastEventId } = this;
    if (this.#data !== null) items.push({ kind: "event", event: this.#name || "message", data: this.#data, lastEventId });
    else if (this.#id !== undefined) items.push({ kind: "id", lastEventId });
    this.#name = "";
    this.#data = null;
    this.#id = undefined;
  }

  #check(): void {
    if (this.#held.length + (this.#data?.length ?? 0) > this.#maxLength) {
      throw new MessageTooLarge(`an event of the stream exceeds maxMessageBytes (${this.#maxLength} characters)`);
    }
  }
}
