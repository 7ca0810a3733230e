// Parses Server-Sent Events incrementally (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// EventSource hides comments, which contain the freshness of the stream, and cannot send an Authorization header.

/** Takes text and yields complete blocks: `{event, data, id, retry, comments}`. `id` is undefined in a block without
 *  one, `data` null in a block that dispatches no event. */
export class BlockReader {
  #rest = "";
  #searched = 0;
  #block = empty();

  *feed(text) {
    this.#rest += text;
    let start = 0;
    let end;
    while ((end = this.#rest.indexOf("\n", Math.max(start, this.#searched))) >= 0) {
      const line = this.#rest.slice(start, this.#rest[end - 1] === "\r" ? end - 1 : end);
      start = end + 1;
      if (line) {
        this.#take(line);
      } else {
        const { data, ...block } = this.#block;
        this.#block = empty();
        yield { ...block, data: data.length ? data.join("\n") : null };
      }
    }
    this.#rest = this.#rest.slice(start);
    // A snapshot is one line of possibly megabytes: the part already searched is not searched again.
    this.#searched = this.#rest.length;
  }

  #take(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "") this.#block.comments.push(value);
    else if (name === "data") this.#block.data.push(value);
    else if (name === "event") this.#block.event = value;
    else if (name === "id") this.#block.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.#block.retry = Number(value);
  }
}

function empty() {
  return { event: "message", data: [], id: undefined, retry: undefined, comments: [] };
}
