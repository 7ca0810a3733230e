/** Runs handlers in order, one at a time, apart from reading: a slow handler delays the handlers after it, never the socket. */
import { asError } from "./errors.js";

type Task = () => unknown;

export interface DispatcherOptions {
  /** The maximum number of queued tasks: when it is reached, `full` is called; when half have run, `drained`. */
  readonly limit: number;
  full(): void;
  drained(): void;
  failed(error: Error): void;
}

export class Dispatcher {
  #tasks: Task[] = [];
  #isRunning = false;
  #isFull = false;

  readonly #options: DispatcherOptions;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  get queued(): number {
    return this.#tasks.length;
  }

  push(task: Task): void {
    this.#tasks.push(task);
    if (!this.#isFull && this.#tasks.length >= this.#options.limit) {
      this.#isFull = true;
      this.#options.full();
    }
    if (!this.#isRunning) void this.#run();
  }

  /** Drops the queued tasks; a running task is not interrupted. */
  clear(): void {
    this.#tasks = [];
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // A handler never runs inside the call that caused it.
    await null;
    for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift()) {
      try {
        await task();
      } catch (error) {
        this.#options.failed(asError(error));
      }
      if (this.#isFull && this.#tasks.length <= this.#options.limit / 2) {
        this.#isFull = false;
        this.#options.drained();
      }
    }
    this.#isRunning = false;
  }
}
