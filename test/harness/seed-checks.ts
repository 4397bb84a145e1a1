/** Tables full of judged checks, by raw SQL past every hook: what the console's pages are looked at and measured with. */
import { createHmac } from 'node:crypto';
import type { RunningPocketBase } from './pocketbase.ts';

export interface Seeded {
  /** Ids of the checks with hostile or unwieldy data, by what is unwieldy about them. */
  readonly ugly: Readonly<Record<keyof typeof uglyChecks, string>>;
  /** How many checks stand in the table. */
  readonly total: number;
}

export interface SeedOptions {
  /** Ordinary checks, beside the ugly ones. */
  readonly count: number;
  /** Between one upload and the next. */
  readonly everySeconds?: number;
  /** The age of the youngest. */
  readonly youngestSeconds?: number;
}

interface UglyCheck {
  readonly status: 'clean' | 'infected' | 'error' | 'pending' | 'scanning';
  readonly reason?: string;
  readonly signature?: string;
  readonly files: readonly string[];
  readonly log?: string;
  readonly released?: string;
}

export const hostileSignature = 'Win.Evil"><img src=x onerror=document.title=1>-9999';
export const scriptName = '<script>document.title=1</script>.exe';
export const rightToLeftName = '\u202egpj.تقرير_سري_exe.scr';
const longName = `${'a-very-long-name-that-nobody-would-type-by-hand-'.repeat(4).slice(0, 189)}release.exe`;

const uglyChecks = {
  ninetyNine: {
    status: 'clean',
    files: Array.from({ length: 99 }, (_, at) => `part_${String(at + 1).padStart(2, '0')}_of_the_release.zip`),
  },
  longName: { status: 'error', reason: 'unscannable:encrypted', files: [longName] },
  rightToLeft: { status: 'infected', signature: 'Win.Trojan.Agent-7358', files: [rightToLeftName, 'readme.txt'] },
  script: {
    status: 'infected',
    signature: hostileSignature,
    files: [scriptName],
    log: '</pre><script>document.title=1</script>\n\u001b[31mred\u001b[0m',
  },
  failed: { status: 'error', reason: 'engine-reply', files: ['kills-the-engine.bin'] },
  released: {
    status: 'infected',
    signature: 'PUA.Win.Packer-1',
    files: ['installer.exe'],
    released: 'the vendor <b>confirmed</b> a false alarm',
  },
  unknown: { status: 'error', reason: 'from-a-newer-version', files: ['future.bin'] },
  noFiles: { status: 'error', reason: 'no-files', files: [] },
  waiting: { status: 'pending', files: ['waits-for-its-turn.tar.gz', scriptName] },
  scanning: { status: 'scanning', files: ['under-the-glass.iso'] },
} as const satisfies Record<string, UglyCheck>;

/** Fills empty tables. The newest rows are the ugly ones. Rejects where PocketBase refuses the SQL. */
export async function seedChecks(pb: RunningPocketBase, { count, everySeconds = 30, youngestSeconds = 60 }: SeedOptions): Promise<Seeded> {
  const youngest = Date.now() / 1000 - youngestSeconds;
  await pb.sql(ordinaryBuilds(count, youngest, everySeconds));
  await pb.sql(ordinaryChecks(youngest, count, everySeconds));
  const ugly = Object.entries(uglyChecks).map(([name, check], at) => ({ id: idOf(name), check: check as UglyCheck, at: youngest + at }));
  for (const each of ugly) for (const query of uglyRows(each)) await pb.sql(query);
  await pb.sql(historyOfAll);
  await pb.sql(historyOfReleases);
  await chainHistory(pb);
  return {
    ugly: Object.fromEntries(Object.keys(uglyChecks).map((name) => [name, idOf(name)])) as Seeded['ugly'],
    total: count + ugly.length,
  };
}

const at = (number: string, youngest: number, count: number, everySeconds: number) =>
  `strftime('%Y-%m-%d %H:%M:%fZ', ${youngest} - (${count} - ${number}) * ${everySeconds}, 'unixepoch')`;

function ordinaryBuilds(count: number, youngest: number, everySeconds: number): string {
  const created = at('i', youngest, count, everySeconds);
  return `INSERT INTO app_builds (id, files, app, branch, os, arch, created, updated)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    SELECT printf('b%014d', i), json_array(printf('app-1.%d.%d_%s.zip', i / 100, i % 100, substr(hex(i * 7919), 1, 10))), 'app',
      CASE i % 3 WHEN 0 THEN 'main' WHEN 1 THEN 'next' ELSE '' END, CASE i % 4 WHEN 0 THEN 'win' WHEN 1 THEN 'linux' ELSE '' END, 'amd64', ${created}, ${created}
    FROM n`;
}

/** Of 14,000 checks one found something, of 20,000 one failed, of 550 one could not be judged. */
function ordinaryChecks(youngest: number, count: number, everySeconds: number): string {
  const created = at('i', youngest, count, everySeconds);
  return `INSERT INTO av_build_checks (id, build, status, open, reason, virus_name, scan_time, log, files, engine, created, updated)
    WITH b AS (SELECT id, CAST(substr(id, 2) AS INTEGER) AS i, json_extract(files, '$[0]') AS name FROM app_builds WHERE id GLOB 'b0*'),
    c AS (SELECT id, i, name, CASE WHEN i % 14000 = 7 THEN 'infected' WHEN i % 20000 = 5 OR i % 550 = 0 THEN 'error' ELSE 'clean' END AS status FROM b)
    SELECT 'c' || substr(id, 2), id, status, status = 'clean',
      CASE WHEN status != 'error' THEN '' WHEN i % 20000 = 5 THEN 'download' WHEN i % 3 = 0 THEN 'unscannable:encrypted' ELSE 'unscannable:too-large' END,
      CASE status WHEN 'infected' THEN 'Win.Trojan.Seed-' || i ELSE '' END,
      ${created}, '+0.001s seeded' || char(10) || '+0.402s ' || name || ': judged',
      json_array(json_patch(json_object('name', name, 'size', 1000000 + i, 'sha256', printf('%064x', i), 'ms', 300 + i % 700,
        'verdict', CASE status WHEN 'error' THEN 'unscannable' ELSE status END), CASE status WHEN 'infected' THEN json_object('signature', 'Win.Trojan.Seed-' || i) ELSE '{}' END)),
      json_object('name', 'main', 'version', '1.4.6', 'signatures', 27512, 'signaturesAt', '2026-11-21T06:00:00.000Z'), ${created}, ${created}
    FROM c`;
}

function uglyRows({ id, check, at: seconds }: { id: string; check: UglyCheck; at: number }): string[] {
  const time = new Date(seconds * 1000).toISOString().replace('T', ' ');
  const isJudged = check.status !== 'pending' && check.status !== 'scanning';
  const verdicts = check.files.map((name, at) => ({
    name,
    size: 1024 * (at + 1) ** 3,
    sha256: check.reason === undefined ? String(at % 10).repeat(64) : '',
    ...verdictOf(check, at),
    ms: 12 + at,
  }));
  const engine = { name: 'main', version: '1.4.6', signatures: 27_512, signaturesAt: '2026-11-21T06:00:00.000Z' };
  const row = {
    id,
    build: id,
    status: check.status,
    open: check.status === 'clean' || check.released !== undefined ? 1 : 0,
    reason: check.reason ?? '',
    virus_name: check.signature ?? '',
    scan_time: isJudged ? time : '',
    pending_since: isJudged ? '' : time,
    log: check.log ?? '',
    files: isJudged ? JSON.stringify(verdicts) : 'null',
    engine: isJudged ? JSON.stringify(engine) : 'null',
    released_by: check.released === undefined ? '' : 'ana@example.com',
    released_at: check.released === undefined ? '' : time,
    release_reason: check.released ?? '',
    worker: check.status === 'scanning' ? 'sidecar-1' : '',
    lease_until: check.status === 'scanning' ? new Date(Date.now() + 3_600_000).toISOString().replace('T', ' ') : '',
    created: time,
    updated: time,
  };
  return [
    ...inserts('app_builds', { id, files: JSON.stringify(check.files), app: 'ugly', created: time, updated: time }),
    ...inserts('av_build_checks', row),
  ];
}

/** Of several files, the first is the one that something is wrong with. */
function verdictOf(check: UglyCheck, at: number): object {
  if (check.status === 'infected' && at === 0) return { verdict: 'infected', signature: check.signature };
  if (check.status === 'error' && at === 0) return { verdict: 'unscannable', reason: check.reason };
  return { verdict: 'clean' };
}

/** One settled entry for each, as the hooks write them; their hashes follow. */
const historyOfAll = `INSERT INTO av_scan_history (id, seq, entry, hash, created)
  SELECT 'h' || substr(id, 2), row_number() OVER (ORDER BY created, id) + (SELECT COALESCE(MAX(seq), 0) FROM av_scan_history),
    json_object('at', scan_time, 'build', build, 'check', id, 'engine', json(engine), 'event', 'settled', 'files', json(files), 'open', json(iif(open AND released_by = '', 'true', 'false')),
      'reason', reason, 'status', status, 'virusName', virus_name, 'worker', 'sidecar-1'), 'seeded', created
  FROM av_build_checks WHERE scan_time != ''`;

const historyOfReleases = `INSERT INTO av_scan_history (id, seq, entry, hash, created)
  SELECT 'r' || substr(id, 2), row_number() OVER (ORDER BY id) + (SELECT COALESCE(MAX(seq), 0) FROM av_scan_history),
    json_object('at', released_at, 'build', build, 'by', released_by, 'check', id, 'event', 'released', 'note', release_reason, 'open', json('true'), 'status', status),
    'seeded', released_at
  FROM av_build_checks WHERE released_by != ''`;

/** As the hooks chain them, with the key of the harness. */
async function chainHistory(pb: RunningPocketBase): Promise<void> {
  let hash = '';
  let last = 0;
  for (;;) {
    const { rows } = (await pb.sql(`SELECT seq, entry FROM av_scan_history WHERE seq > ${last} ORDER BY seq LIMIT 1000`)) as {
      rows: [unknown, string][];
    };
    if (rows.length === 0) return;
    const hashes = rows.map(([seq, entry]) => {
      hash = createHmac('sha256', 'test history key')
        .update(hash + entry)
        .digest('hex');
      return `(${seq},'${hash}')`;
    });
    last = Number(rows.at(-1)![0]);
    for (let from = 0; from < hashes.length; from += 50) {
      const values = hashes.slice(from, from + 50).join();
      await pb.sql(
        `WITH v(seq, hash) AS (VALUES ${values}) UPDATE av_scan_history SET hash = v.hash FROM v WHERE v.seq = av_scan_history.seq`,
      );
    }
  }
}

/** As PocketBase's: 15 letters and digits. */
function idOf(name: string): string {
  return `ugly${name.toLowerCase()}000000000000`.slice(0, 15);
}

/** PocketBase takes at most 5,000 characters of SQL at once, so that `files` arrive in pieces. */
function inserts(table: string, { files, ...rest }: Readonly<Record<string, string | number>>): string[] {
  const literal = (value: string | number) => (typeof value === 'number' ? String(value) : `'${value.replaceAll("'", "''")}'`);
  const pieces = String(files).match(/.{1,2000}/gsu) ?? [];
  return [
    `INSERT INTO ${table} (${Object.keys(rest).join(', ')}, files) VALUES (${Object.values(rest).map(literal).join(', ')}, '')`,
    ...pieces.map((piece) => `UPDATE ${table} SET files = files || ${literal(piece)} WHERE id = ${literal(rest['id']!)}`),
  ];
}
