// The project's server with its embedded database, started by its command line.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The command that starts it, for example `python -m cdc`; without it the tests that need it are skipped. */
export const COMMAND = process.env.FLAGENT_TEST_SERVER ?? "";
export const MISSING = COMMAND === "" ? "FLAGENT_TEST_SERVER is not set; it must be the command that starts the server" : false;

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));

export class RealServer {
  static async start(settings = {}) {
    const server = new RealServer();
    server.settings = settings;
    server.dataDir = await mkdtemp(join(tmpdir(), "flagent-cdc-sdk-"));
    try {
      await server.run();
    } catch (error) {
      await rm(server.dataDir, { recursive: true, force: true });
      throw error;
    }
    return server;
  }

  async run() {
    const [program, ...words] = COMMAND.split(" ");
    const env = { ...process.env, PYTHONPATH: REPOSITORY, FLAGENT_SSE_KEEP_ALIVE: "1s", FLAGENT_WS_PING_INTERVAL: "1s", ...this.settings };
    this.process = spawn(program, [...words, "serve", "--port", "0", "--data-dir", this.dataDir], { cwd: REPOSITORY, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    await new Promise((resolve, reject) => {
      const read = (data) => {
        output += data;
        if (/stop {2,}/.test(output)) resolve();
      };
      this.process.stdout.on("data", read);
      this.process.stderr.on("data", read);
      this.process.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${output}`)));
      this.process.once("error", reject);
    });
    this.port = Number(/ready at http:\/\/127\.0\.0\.1:(\d+)/.exec(output)[1]);
    this.database = /psql (postgresql:\/\/\S+)/.exec(output)[1];
  }

  async halt() {
    if (this.process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
  }

  async stop() {
    await this.halt();
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

/** The live flags in the tables, in the form of `essence`. */
export async function truth(database) {
  const { rows } = await database.query(`
    select f.id, f.key, f.description, f.enabled, f.notes, f.entity_type as "entityType",
      (select coalesce(json_agg(t.value order by t.id), '[]') from flags_tags ft join tags t on t.id = ft.tag_id
        where ft.flag_id = f.id and t.deleted_at is null) as tags,
      (select coalesce(json_agg(json_build_object('id', v.id, 'key', coalesce(v.key, '')) order by v.id), '[]') from variants v
        where v.flag_id = f.id and v.deleted_at is null) as variants,
      (select coalesce(json_agg(json_build_object('id', s.id, 'rank', s.rank, 'rolloutPercent', s.rollout_percent,
          'constraints', (select coalesce(json_agg(json_build_array(c.property, c.operator, c.value) order by c.id), '[]') from constraints c
            where c.segment_id = s.id and c.deleted_at is null),
          'distributions', (select coalesce(json_agg(json_build_array(d.variant_id, d.percent) order by d.id), '[]') from distributions d
            where d.segment_id = s.id and d.deleted_at is null)) order by s.rank, s.id), '[]') from segments s
        where s.flag_id = f.id and s.deleted_at is null) as segments
    from flags f where f.deleted_at is null order by f.id`);
  return rows;
}

/** The fields that `truth` reads, taken from a flag in the server's form. */
export function essence({ id, key, description, enabled, notes, entityType, tags, variants, segments }) {
  const byId = (a, b) => a.id - b.id;
  return {
    id, key, description, enabled, notes, entityType,
    tags: tags.map(({ value }) => value),
    variants: variants.map((variant) => ({ id: variant.id, key: variant.key })),
    segments: segments.map((segment) => ({
      id: segment.id, rank: segment.rank, rolloutPercent: segment.rolloutPercent,
      constraints: [...segment.constraints].sort(byId).map(({ property, operator, value }) => [property, operator, value]),
      distributions: [...segment.distributions].sort(byId).map(({ variantID, percent }) => [variantID, percent]),
    })),
  };
}

/** A seeded random number generator (mulberry32). */
export function randomness(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)] };
}

const OPERATORS = ["EQ", "NEQ", "IN", "NOTIN", "LT", "GTE", "EREG", "NEREG", "CONTAINS"];
const VALUES = ["US", "DE, US", "18", "1e2", "U.*", "[A-Z]{2}", "(", "S"];

/** One transaction of a writer in plain SQL, without any knowledge of capture. */
export async function write(database, random) {
  const { below, pick } = random;
  const key = () => `flag_${below(12)}`;
  const anyFlag = "(select id from flags where key = $1)";
  const deeds = [
    () => database.query("insert into flags (key, description, enabled, created_at) values ($1, $2, $3, now()) on conflict (key) do update set enabled = not flags.enabled, deleted_at = null", [key(), `d${below(99)}`, below(2) === 1]),
    () => database.query("update flags set enabled = not enabled where key in ($1, $2)", [key(), key()]),
    () => database.query("update flags set description = $2, notes = $3 where key = $1", [key(), `ж${below(999)} 🚩`, "x".repeat(below(3) === 0 ? 9000 : 5)]),
    () => database.query("update flags set snapshot_id = snapshot_id + 1, updated_at = now() where key = $1", [key()]),
    () => below(3) > 0 ? null : database.query("update flags set deleted_at = now() where key = $1", [key()]),
    () => below(4) > 0 ? null : database.query("delete from flags where key = $1", [key()]),
    () => below(4) > 0 ? null : database.query("update flags set key = $2 where key = $1 and not exists (select 1 from flags where key = $2)", [key(), key()]),
    () => database.query(`insert into segments (flag_id, rank, rollout_percent, created_at) select id, $2, $3, now() from flags where key = $1`, [key(), below(5), pick([0, 10, 50, 100, 100])]),
    () => database.query(`insert into constraints (segment_id, property, operator, value, created_at) select id, 'country', $2, $3, now() from segments where flag_id = ${anyFlag} order by id desc limit 1`, [key(), pick(OPERATORS), pick(VALUES)]),
    () => database.query(`insert into variants (flag_id, key, attachment, created_at) select id, $2, '{"n": "1"}', now() from flags where key = $1`, [key(), pick(["on", "off", "blue"])]),
    () => database.query(`update segments set rollout_percent = $2 where flag_id = ${anyFlag}`, [key(), below(101)]),
    () => database.query(`delete from segments where id in (select id from segments where flag_id = ${anyFlag} order by id limit 1)`, [key()]),
    () => database.query(`insert into tags (value, created_at) values ($1, now()) on conflict (value) do nothing`, [pick(["red", "green"])]),
    () => database.query(`insert into flags_tags (flag_id, tag_id) select f.id, t.id from flags f, tags t where f.key = $1 and t.value = $2 on conflict do nothing`, [key(), pick(["red", "green"])]),
    () => database.query(`delete from flags_tags where flag_id = ${anyFlag}`, [key()]),
    async () => {
      await database.query(`with s as (select s.id, s.flag_id from segments s where s.flag_id = ${anyFlag} order by s.id limit 1), gone as (delete from distributions where segment_id in (select id from s))
        insert into distributions (segment_id, variant_id, variant_key, percent, created_at)
        select s.id, v.id, v.key, case when row_number() over (order by v.id) = 1 then 60 else 40 end, now() from s join variants v on v.flag_id = s.flag_id order by v.id limit 2`, [key()]);
    },
  ];
  await database.query("begin");
  for (let n = below(3); n >= 0; n--) await pick(deeds)();
  await database.query(below(10) === 0 ? "rollback" : "commit");
}
