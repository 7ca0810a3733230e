/** The root of the error tree, and the errors that the core raises; the whole tree is drawn in `../errors.ts`. */

export class FlagentError extends Error {
  override readonly name: string = "FlagentError";
}

/** A message of the server cannot be decoded; it is skipped, and the connection stays. */
export class MalformedMessage extends FlagentError {
  override readonly name = "MalformedMessage";
}

/** A message of the server exceeds `maxMessageBytes`; the connection ends and resumes. */
export class MessageTooLarge extends FlagentError {
  override readonly name = "MessageTooLarge";
}

/** Several schemas hold a flag of this key or id; pass the schema. */
export class AmbiguousFlag extends FlagentError {
  override readonly name = "AmbiguousFlag";

  constructor(what: string, readonly schemas: readonly string[]) {
    super(`${what} exists in several schemas (${schemas.join(", ")}); pass the schema`);
  }
}

/** The server has left out this flag's rules because of its size; the server itself can evaluate it. */
export class ReducedFlag extends FlagentError {
  override readonly name = "ReducedFlag";

  constructor(readonly flagKey: string, readonly sizeBytes: number) {
    super(`the flag ${flagKey} has ${sizeBytes} bytes and was sent without its rules; evaluate it on the server`);
  }
}
