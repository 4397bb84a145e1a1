/** `npm run history:verify`: proves on a copy of a database that its scan history is whole, or says row by row where it is not. */
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { chainText } from '../pb_hooks/lib/history-chain.ts';
import { type Head, reportOf, type Verified } from './history/report.ts';
import { openSnapshot, type Snapshot } from './history/snapshot.ts';
import { type Row, Walk } from './history/walk.ts';

const HELP = `usage: npm run history:verify -- DATABASE [--key-file F] [--head F] [--json]

DATABASE is a copy of pb_data/data.db, or that of a PocketBase that is stopped. Nothing is written: where it has a file data.db-wal
beside it, both are copied to the temporary folder first.

  --key-file F      file with AV_HISTORY_KEY (else AV_HISTORY_KEY, or the file named by AV_HISTORY_KEY_FILE)
  --head F          file with the newest row that was seen, {"seq": 12, "hash": "..."}, kept outside the database: the console's
                    history-anchor.json in CONSOLE_DATA_DIR. Without it nobody can tell that rows are missing at the end.
  --json            one JSON object instead of lines

Exit code 0: whole. 1: broken. 2: cannot be verified (no key, no database, written meanwhile).`;

const TABLE = 'av_scan_history';
const PROGRESS_MS = 2_000;
const CANNOT = 2;
/** Below any number that a forger could have taken, and of any type. */
const ROWS = `SELECT CAST(seq AS TEXT) AS seq, typeof(entry) AS kind, CAST(entry AS BLOB) AS entry, CAST(hash AS TEXT) AS hash,
  CAST(created AS TEXT) AS created FROM ${TABLE} ORDER BY ${TABLE}.seq`;

interface Options {
  readonly database: string;
  readonly keyFile: string | null;
  readonly head: string | null;
  readonly json: boolean;
}

/** Null when the help is wanted; throws with one sentence when the arguments make no sense. */
function readOptions(args: string[]): Options | null {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      'key-file': { type: 'string' },
      head: { type: 'string' },
      json: { type: 'boolean' },
    },
  });
  if (values.help === true) return null;
  const [database, ...others] = positionals;
  if (database === undefined || others.length > 0) throw new Error(`Name one database.\n\n${HELP}`);
  return { database: resolve(database), keyFile: values['key-file'] ?? null, head: values.head ?? null, json: values.json === true };
}

async function readKey(keyFile: string | null, env: NodeJS.ProcessEnv): Promise<string> {
  const file = keyFile ?? (env.AV_HISTORY_KEY ? null : env.AV_HISTORY_KEY_FILE || null);
  const key = file === null ? (env.AV_HISTORY_KEY ?? '') : (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  if (key === '') throw new Error('Without AV_HISTORY_KEY nothing can be verified: name a file with it by --key-file.');
  return key;
}

const headShape = z.object({ seq: z.number().int().min(0), hash: z.string().regex(/^([0-9a-f]{64})?$/) });

async function readHead(path: string): Promise<Head> {
  const text = await readFile(path, 'utf8');
  try {
    return headShape.parse(JSON.parse(text));
  } catch {
    throw new Error(`${path} is not {"seq": …, "hash": "…"}, as the console keeps it.`);
  }
}

function verify({ database }: Snapshot, key: string, head: Head | null): Verified {
  const walk = new Walk((before, entry) => createHmac('sha256', key).update(chainText(before, '')).update(entry).digest('hex'));
  // Counted without any index: one that was tampered with would leave rows out of the walk.
  const total = Number(database.prepare(`SELECT COUNT(*) AS count FROM ${TABLE} NOT INDEXED`).get()!['count']);
  let found: NonNullable<Verified['head']>['found'] = head?.seq === 0 ? 'there' : 'gone';
  let walked = 0;
  let said = Date.now();
  for (const raw of database.prepare(ROWS).iterate()) {
    const row = rowOf(raw);
    walk.add(row);
    if (row.seq === head?.seq) found = row.hash === head.hash ? 'there' : 'replaced';
    walked += 1;
    if (Date.now() - said < PROGRESS_MS) continue;
    said = Date.now();
    process.stderr.write(`${walked.toLocaleString('en')} of ${total.toLocaleString('en')} rows\n`);
  }
  const result = walk.end();
  const more = result.more + Math.abs(total - walked);
  const ok = result.faults.length === 0 && more === 0 && (head === null || found === 'there');
  return { ok, ...result, more, head: head === null ? null : { ...head, found } };
}

function rowOf(raw: Record<string, unknown>): Row {
  const { seq, kind, entry, hash, created } = raw;
  return {
    seq: seq === null ? Number.NaN : Number(seq),
    entry: kind === 'text' ? (entry as Uint8Array) : null,
    hash: String(hash),
    created: String(created),
  };
}

async function main(options: Options): Promise<boolean> {
  const key = await readKey(options.keyFile, process.env);
  const head = options.head === null ? null : await readHead(options.head);
  const snapshot = await openSnapshot(options.database);
  try {
    const verified = verify(snapshot, key, head);
    if (await snapshot.isStale()) throw new Error('The database was written meanwhile. Stop its PocketBase, or name a copy.');
    console.log(options.json ? JSON.stringify(verified) : reportOf(verified));
    return verified.ok;
  } finally {
    await snapshot.close();
  }
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else process.exitCode = (await main(options)) ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = CANNOT;
}
