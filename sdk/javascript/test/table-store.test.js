// The rows of a table, against a server that each test scripts, and against the real one.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import pg from "pg";
import { FlagentClient, FlagentSSEClient, FlagentWebSocketClient, NotReady } from "../dist/index.js";
import { TableStore } from "../dist/table-store.js";
import { FakeClock, ScriptedServer, transports, until } from "./harness.js";
import { MISSING, RealServer } from "./real-server.js";

for (const [name, Client] of [["WebSocket", FlagentWebSocketClient], ["SSE", FlagentSSEClient]]) {
  describe(`${name}: the rows of a table`, () => {
    const wire = transports[name];
    let server;
    let clock;
    let client;
    let errors;

    beforeEach(async () => {
      server = await ScriptedServer.start();
      clock = new FakeClock();
      errors = [];
    });

    afterEach(async () => {
      client.close();
      assert.deepEqual(clock.waits, []);
      await server.stop();
    });

    function open(options, clientOptions = {}) {
      client = new Client({ url: wire.url(server), clock, apiKey: () => "k", reconnectConfig: { initialDelay: 1 }, ...clientOptions });
      client.onError((error) => errors.push(error.message));
      return new TableStore(client, "shop.orders", options);
    }

    const send = (peer, type, data, id) => (name === "SSE" ? peer.event(type, data, id) : peer.send({ type, ...data, ...(id ? { id } : {}) }));
    const row = (id, total) => ({ key: { id }, row: { id, total } });
    const rows = (peer, list) => send(peer, "rows", { table: "shop.orders", sent: list.length, estimated: 1, rows: list });
    const end = (peer, id, count = 1) => send(peer, "rows_end", { table: "shop.orders", position: id.split("@")[0], rows: count }, id);
    const change = (peer, type, id, data) => send(peer, type, { table: "shop.orders", schema: "shop", committedAt: "2026-11-23T08:00:00Z", ...data }, id);

    async function ready(list = [row(1, 10), row(2, 20)], options, clientOptions) {
      const store = open(options, clientOptions);
      const { peer } = await wire.accept(server, { position: "12" });
      rows(peer, list);
      end(peer, "10@k", list.length);
      await until(() => store.position === "10");
      wire.heartbeat(peer, "12@k");
      await store.ready({ timeout: 5000 });
      return { store, peer };
    }

    test("asks for a filter, and has the rows once all have arrived (tc-table-request tc-table-rows)", async () => {
      const store = open({ where: "tenant = $1 and n > $2 and s = $3", params: ["a", 7, true], columns: ["id", "total"] });
      const { peer, snapshot } = await wire.accept(server, { position: "10" });
      assert.equal(peer.header("x-api-key"), "k");
      if (name === "SSE") {
        assert.deepEqual([...peer.url.searchParams], [
          ["envelope", "true"], ["table", "shop.orders"], ["where", "tenant = $1 and n > $2 and s = $3"], ["param", "a"], ["param", "7"], ["param", "true"], ["columns", "id,total"], ["snapshot", "true"],
        ]);
      } else {
        const { requestId: _, ...asked } = peer.messages[0];
        assert.deepEqual(asked, { type: "subscribe", tables: [{ name: "shop.orders", where: "tenant = $1 and n > $2 and s = $3", params: ["a", 7, true], columns: ["id", "total"] }], snapshot: true });
      }
      assert.equal(snapshot, true);
      const changes = [];
      store.onChange((list) => changes.push(...list.map(({ kind, key }) => `${kind} ${key.id}`)));
      rows(peer, [row(1, 10)]);
      rows(peer, [row(2, 20)]);
      // Between the rows, without an id, where the lane is ordered when read.
      change(peer, "row_updated", undefined, { key: { id: 1 }, before: { id: 1, total: 10 }, after: { id: 1, total: 11 }, changed: ["total"] });
      await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual([store.status, store.size, store.position], ["INITIALIZING", 0, null]);
      end(peer, "10@k", 2);
      await store.ready({ timeout: 5000 });
      assert.deepEqual([store.rows, store.get(1), store.get({ id: 2 }), store.get(3), store.size], [[{ id: 1, total: 11 }, { id: 2, total: 20 }], { id: 1, total: 11 }, { id: 2, total: 20 }, undefined, 2]);
      await until(() => changes.length === 2);
      assert.deepEqual([changes, [...store].length, store.position], [["created 1", "created 2"], 2, "10"]);
    });

    test("folds events in by key (tc-table-events)", async () => {
      const { store, peer } = await ready();
      const changes = [];
      store.onChange((list) => changes.push(...list.map(({ kind, key, before, after }) => [kind, key.id, before?.total, after?.total])));
      change(peer, "row_inserted", "13-0@k", { key: { id: 3 }, before: null, after: { id: 3, total: 30 }, moved: "in" });
      change(peer, "row_updated", "13-1@k", { key: { id: 4 }, before: { id: 1, total: 10 }, after: { id: 4, total: 40 } });
      change(peer, "row_deleted", "14-0@k", { key: { id: 2 }, before: null, after: null, moved: "out" });
      change(peer, "row_deleted", "13-0@k", { key: { id: 3 }, before: null, after: null });
      await until(() => store.position === "14" && changes.length >= 4);
      assert.deepEqual(store.rows.sort((a, b) => a.id - b.id), [{ id: 3, total: 30 }, { id: 4, total: 40 }]);
      assert.deepEqual(changes, [["created", 3, undefined, 30], ["deleted", 1, 10, undefined], ["created", 4, undefined, 40], ["deleted", 2, 20, undefined]]);
      change(peer, "table_truncated", "15-0@k", { key: null, before: null, after: null });
      await until(() => store.size === 0);
      assert.equal(store.status, "READY");
    });

    test("a table without a key holds equal rows as often as they are (tc-table-events)", async () => {
      const { store, peer } = await ready([{ key: null, row: { n: 1 } }, { key: null, row: { n: 1 } }, { key: null, row: { n: 2 } }]);
      assert.deepEqual(store.rows, [{ n: 1 }, { n: 1 }, { n: 2 }]);
      change(peer, "row_deleted", "13-0@k", { key: null, before: { n: 1 }, after: null });
      change(peer, "row_updated", "13-1@k", { key: null, before: { n: 2 }, after: { n: 3 } });
      await until(() => store.position === "13");
      assert.deepEqual(store.rows, [{ n: 1 }, { n: 3 }]);
    });

    test("resumes after all rows have arrived, begins again before (tc-table-resume)", async () => {
      const store = open();
      const first = await wire.accept(server, { position: "10" });
      rows(first.peer, [row(1, 10)]);
      first.peer.socket.destroy();
      await until(() => clock.waits.length === 1 && clock.waits[0] <= 10, "the wait");
      clock.advance(10);
      const second = await wire.accept(server, { position: "10" });
      assert.deepEqual([second.snapshot, second.lastEventId], [true, null]);
      rows(second.peer, [row(2, 20)]);
      end(second.peer, "10@k");
      await store.ready({ timeout: 5000 });
      assert.deepEqual(store.rows, [{ id: 2, total: 20 }]);
      second.peer.socket.destroy();
      await until(() => store.status === "STALE" && clock.waits.length === 1 && clock.waits[0] <= 10);
      clock.advance(10);
      const third = await wire.accept(server, { position: "11" });
      assert.deepEqual([third.snapshot, third.lastEventId], [false, "10@k"]);
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(store.status, "STALE");
      change(third.peer, "row_inserted", "11-0@k", { key: { id: 1 }, before: null, after: { id: 1, total: 1 } });
      await store.ready({ timeout: 5000 });
      assert.equal(store.size, 2);
    });

    test("loads again after a resync and a rewritten schema; the old rows stay readable (tc-table-resync tc-table-schema-changed)", async () => {
      const { store, peer } = await ready();
      const schemas = [];
      store.onSchemaChange((one) => schemas.push(one.after));
      send(peer, "schema_changed", { table: "shop.orders", before: [], after: [{ name: "id", type: "bigint" }], rewritten: false });
      await until(() => schemas.length === 1);
      assert.equal(store.status, "READY");
      const reload = async (cause, next) => {
        cause();
        const { peer: again, snapshot } = await wire.accept(server, { position: "20" });
        assert.deepEqual([snapshot, store.status, store.size], [true, "STALE", 2]);
        rows(again, next);
        end(again, "20@k", next.length);
        await store.ready({ timeout: 5000 });
        return again;
      };
      const second = await reload(() => wire.resync(peer, "pruned", [], "15@k"), [row(1, 10), row(5, 50)]);
      assert.equal(store.get(2), undefined);
      await reload(() => send(second, "schema_changed", { table: "shop.orders", before: [], after: [], rewritten: true }), [row(6, 60), row(7, 70)]);
      assert.deepEqual(store.rows.map(({ id }) => id), [6, 7]);
    });

    test("more rows than maxRows are an error that names the table and the bound (tc-table-too-many)", async () => {
      const store = open({ maxRows: 1 });
      const { peer } = await wire.accept(server);
      rows(peer, [row(1, 10), row(2, 20)]);
      await assert.rejects(store.ready({ timeout: 5000 }), /shop\.orders has more than maxRows \(1\) rows/);
      await until(() => peer.isClosed || peer.frames.some(({ opcode }) => opcode === 8));
      assert.equal(store.status, "ERROR");
    });

    test("what the server refuses is an error, what passes is tried again (tc-table-fails)", async () => {
      const store = open();
      const first = await wire.accept(server);
      send(first.peer, "backfill_failed", { code: "too_busy", message: "four tables are being read" });
      await until(() => clock.waits.length === 1 && clock.waits[0] <= 1);
      clock.advance(1);
      const second = await wire.accept(server);
      send(second.peer, "backfill_failed", { code: "unknown_table", message: "there is no table shop.orders" });
      await assert.rejects(store.ready({ timeout: 5000 }), /there is no table shop\.orders/);
      assert.equal(store.status, "ERROR");
    });

    test("numbers are exact (tc-table-numbers)", async () => {
      const { store, peer } = await ready([row(1, 1)], {}, { longIntegers: "bigint" });
      const text = '{"type":"row_inserted","id":"13-0@k","table":"shop.orders","key":{"id":9007199254740993},"before":null,"after":{"id":9007199254740993,"total":0.10000000000000000001}}';
      if (name === "SSE") peer.write(`event: row_inserted\nid: 13-0@k\ndata: ${text}\n\n`);
      else peer.frame(1, text);
      await until(() => store.size === 2);
      assert.deepEqual([store.get(9007199254740993n), store.get({ id: 9007199254740993n }) !== undefined], [{ id: 9007199254740993n, total: "0.10000000000000000001" }, true]);
    });

    test("a row that could not be delivered keeps its place (tc-table-unreadable tc-unreadable-row)", async () => {
      const { store, peer } = await ready([row(1, 10), { key: { id: 2 }, row: null, unreadable: "too_large" }]);
      assert.deepEqual([store.get(2), store.size, store.rows.length], [null, 2, 1]);
      change(peer, "row_updated", "13-0@k", { key: { id: 1 }, before: null, after: null, changed: [], unreadable: "not_utf8" });
      await until(() => store.position === "13");
      assert.equal(store.get(1), null);
      assert.deepEqual(errors, ['a row of shop.orders could not be delivered (too_large): {"id":2}', 'a row of shop.orders could not be delivered (not_utf8): {"id":1}']);
    });

    test("follows its client: offline, started, closed; and closed at once it never connects", async () => {
      const store = open({}, { start: false });
      await assert.rejects(store.ready(), NotReady);
      client.start();
      const { peer } = await wire.accept(server);
      rows(peer, [row(1, 10)]);
      end(peer, "10@k");
      await store.ready({ timeout: 5000 });
      client.offline();
      await until(() => store.status === "STALE");
      client.start();
      assert.equal((await wire.accept(server)).lastEventId, "10@k");
      await store.ready({ timeout: 5000 });
      new TableStore(client, "other").close();
      client.close();
      assert.equal(store.status, "CLOSED");
      assert.throws(() => new TableStore(client, ""), TypeError);
      assert.throws(() => new TableStore(client, "t", { maxRows: 0 }), RangeError);
      assert.throws(() => new TableStore(client, "t"), /closed/);
    });
  });
}

describe("the rows of a table of the real server", { skip: MISSING }, () => {
  let server;
  let database;

  before(async () => {
    server = await RealServer.start();
    database = new pg.Client(server.database);
    await database.connect();
    await database.query("create schema shop; create table shop.orders (id bigint primary key, tenant text, total numeric); select flagent_cdc.watch('shop.orders')");
    await database.query("insert into shop.orders select n, case n % 2 when 0 then 'even' else 'odd' end, n / 10.0 from generate_series(1, 1000) n");
    // The server finds the table within moments.
    await until(async () => {
      const abort = new AbortController();
      const { status } = await fetch(`http://127.0.0.1:${server.port}/api/v1/events/stream?table=shop.orders&where=id%3D1`, { signal: abort.signal });
      abort.abort();
      return status === 200;
    }, "the server knows the table");
  }, { timeout: 60_000 });

  after(async () => {
    await database?.end();
    await server?.stop();
  });

  for (const [name, make] of Object.entries({
    WebSocket: () => new FlagentWebSocketClient({ url: `ws://127.0.0.1:${server.port}/ws` }),
    SSE: () => new FlagentSSEClient({ url: `http://127.0.0.1:${server.port}/api/v1/events/stream` }),
    any: () => new FlagentClient(`http://127.0.0.1:${server.port}`),
  })) {
    test(`${name}: equals the table, filtered and not`, async () => {
      const client = make();
      try {
        const all = new TableStore(client, "shop.orders");
        const even = new TableStore(client, "shop.orders", { where: "tenant = $1", params: ["even"], columns: ["total"] });
        await Promise.all([all.ready(), even.ready()]);
        assert.deepEqual([all.size, even.size, all.get(7).tenant, Object.keys(even.get(8)).sort()], [1000, 500, "odd", ["id", "total"]]);
        await database.query("update shop.orders set tenant = 'even' where id = 7; delete from shop.orders where id = 8; insert into shop.orders values (9007199254740993, 'even', 1.5)");
        await until(() => all.get("9007199254740993") !== undefined && even.size === 501, "the changes");
        assert.deepEqual([all.size, all.get(8), even.get(7)?.id, even.get(8)], [1000, undefined, 7, undefined]);
        await database.query("update shop.orders set tenant = 'odd' where id = 7; insert into shop.orders values (8, 'even', 0.8); delete from shop.orders where id = 9007199254740993");
        await until(() => even.size === 500 && all.size === 1000);
      } finally {
        client.close();
      }
    });
  }
});
