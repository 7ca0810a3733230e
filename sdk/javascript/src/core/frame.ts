/** WebSocket frames (RFC 6455) of a client: an encoder and a parser. Text only, no extensions. */

export type FrameItem =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "binary" }
  | { readonly kind: "ping"; readonly payload: Uint8Array }
  | { readonly kind: "pong" }
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** The peer violated the protocol; the connection must be closed with `code`. */
export class FrameError extends Error {
  override readonly name = "FrameError";

  constructor(readonly code: number, message: string) {
    super(message);
  }
}

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

const ENCODER = new TextEncoder();

/** A frame from client to server, masked as the RFC requires. `mask` is four random bytes. */
export function encodeFrame(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const { length } = payload;
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = new Uint8Array(header + 4 + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (header === 2 ? length : header === 4 ? 126 : 127);
  if (header === 4) view.setUint16(2, length);
  else if (header === 10) view.setBigUint64(2, BigInt(length));
  frame.set(mask, header);
  for (let at = 0; at < length; at++) frame[header + 4 + at] = payload[at]! ^ mask[at & 3]!;
  return frame;
}

export function encodeClose(code: number, reason: string): Uint8Array {
  const text = ENCODER.encode(reason).subarray(0, 123);
  const payload = new Uint8Array(2 + text.length);
  new DataView(payload.buffer).setUint16(0, code);
  payload.set(text, 2);
  return payload;
}

const EMPTY = new Uint8Array(0);

export class FrameParser {
  #chunks: Uint8Array[] = [];
  #held = 0;
  #parts: Uint8Array[] | null = null;
  #partsLength = 0;
  #isText = true;

  readonly #maxLength: number;

  constructor(maxLength = 64 * 1024 * 1024) {
    this.#maxLength = maxLength;
  }

  /**
   * Yields the items that the bytes complete; those before a frame that raises `FrameError` are valid. The parser must
   * not be used after that.
   */
  *push(bytes: Uint8Array): Generator<FrameItem, void, undefined> {
    this.#chunks.push(bytes);
    this.#held += bytes.length;
    for (let item = this.#next(); item !== undefined; item = this.#next()) if (item !== null) yield item;
  }

  /** The next complete frame's item; null for a fragment, undefined when more bytes are needed. */
  #next(): FrameItem | null | undefined {
    if (this.#held < 2) return undefined;
    const start = this.#peek(Math.min(this.#held, 10));
    const view = new DataView(start.buffer, start.byteOffset, start.length);
    const opcode = start[0]! & 0x0f;
    const isFinal = (start[0]! & 0x80) !== 0;
    if ((start[0]! & 0x70) !== 0) throw new FrameError(1002, "a frame has a reserved bit set");
    if ((start[1]! & 0x80) !== 0) throw new FrameError(1002, "a frame of the server is masked");
    let length = start[1]! & 0x7f;
    let header = 2;
    if (length === 126) {
      if (start.length < 4) return undefined;
      length = view.getUint16(2);
      header = 4;
    } else if (length === 127) {
      if (start.length < 10) return undefined;
      const long = view.getBigUint64(2);
      if (long > BigInt(this.#maxLength)) throw new FrameError(1009, `a frame of ${long} bytes exceeds maxMessageBytes (${this.#maxLength})`);
      length = Number(long);
      header = 10;
    }
    if (this.#partsLength + length > this.#maxLength) throw new FrameError(1009, `a message exceeds maxMessageBytes (${this.#maxLength})`);
    if (opcode >= 8 && (!isFinal || length > 125)) throw new FrameError(1002, "a control frame is fragmented or too long");
    if (this.#held < header + length) return undefined;
    this.#take(header);
    return this.#item(opcode, isFinal, this.#take(length));
  }

  #item(opcode: number, isFinal: boolean, payload: Uint8Array): FrameItem | null {
    switch (opcode) {
      case Opcode.PING: return { kind: "ping", payload };
      case Opcode.PONG: return { kind: "pong" };
      case Opcode.CLOSE: return this.#close(payload);
      case Opcode.BINARY:
      case Opcode.TEXT:
        if (this.#parts !== null) throw new FrameError(1002, "a message begins inside another");
        this.#parts = [];
        this.#isText = opcode === Opcode.TEXT;
        break;
      case Opcode.CONTINUATION:
        if (this.#parts === null) throw new FrameError(1002, "a continuation frame continues no message");
        break;
      default: throw new FrameError(1002, `a frame has the unknown opcode ${opcode}`);
    }
    this.#parts!.push(payload);
    this.#partsLength += payload.length;
    if (!isFinal) return null;
    const whole = concat(this.#parts!, this.#partsLength);
    this.#parts = null;
    this.#partsLength = 0;
    return this.#isText ? { kind: "text", text: utf8(whole) } : { kind: "binary" };
  }

  #close(payload: Uint8Array): FrameItem {
    if (payload.length === 0) return { kind: "close", code: 1005, reason: "" };
    if (payload.length === 1) throw new FrameError(1002, "a close frame has a payload of one byte");
    const code = (payload[0]! << 8) | payload[1]!;
    if (code < 1000 || [1004, 1005, 1006, 1015].includes(code) || (code > 1014 && code < 3000) || code > 4999) {
      throw new FrameError(1002, `the close code ${code} is not allowed`);
    }
    return { kind: "close", code, reason: utf8(payload.subarray(2)) };
  }

  #peek(length: number): Uint8Array {
    const first = this.#chunks[0]!;
    if (first.length >= length) return first.subarray(0, length);
    this.#chunks = [concat(this.#chunks, this.#held)];
    return this.#chunks[0]!.subarray(0, length);
  }

  #take(length: number): Uint8Array {
    // An empty frame may be the last received: then there are no bytes to peek at.
    if (length === 0) return EMPTY;
    const taken = this.#peek(length);
    const rest = this.#chunks[0]!.subarray(length);
    if (rest.length > 0) this.#chunks[0] = rest;
    else this.#chunks.shift();
    this.#held -= length;
    return taken;
  }
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw Object.assign(new FrameError(1007, "a text is not valid UTF-8"), { cause });
  }
}
