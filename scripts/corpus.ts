/** `npm run corpus`: how many of 200 real release files are judged, and why the rest is not. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { startClamd } from '../test/harness/clamd.ts';
import { startPool } from '../test/harness/engine-pool.ts';
import { inOwnFolder } from './bench/own-folder.ts';
import { selfMade } from './corpus/self-made.ts';
import { type ReleaseFile, releaseFiles } from './corpus/sources.ts';
import { cacheRoot } from './parts/cache.ts';

const HELP = `usage: npm run corpus

Asks a real clamd, through the adapter of the sidecar, about release files of package registries, which are kept in the cache.
Prints which were judged, and why the others were not.`;

/** Of so many Debian packages the content is packed in other ways too. */
const REPACKED = 7;

interface Judged {
  readonly file: Pick<ReleaseFile, 'kind' | 'name'>;
  readonly bytes: number;
  /** `clean`, the signature found, or the reason. */
  readonly answer: string;
}

async function main(args: readonly string[]): Promise<void> {
  if (args.length > 0) {
    console.log(HELP);
    process.exitCode = args[0] === '--help' ? 0 : 64;
    return;
  }
  const folder = join(cacheRoot(), 'corpus');
  await mkdir(folder, { recursive: true });
  const files = await releaseFiles((line) => console.error(line));
  await using clamd = await startClamd();
  await using running = startPool([clamd.address], { timeoutMs: 300_000, stallMs: 30_000 });
  const never = new AbortController().signal;
  await running.pool.ready(never);
  const judged: Judged[] = [];
  const judge = async (file: Judged['file'], bytes: number, content: AsyncIterable<Uint8Array>) => {
    const { answer } = await running.pool.scan({ size: bytes, bytes: content }, never);
    const text = answer.kind === 'clean' ? 'clean' : answer.kind === 'infected' ? answer.signature : answer.reason;
    judged.push({ file, bytes, answer: text });
    if (text !== 'clean') console.error(`${file.kind} ${file.name}: ${text}`);
  };
  const debs: string[] = [];
  for (const file of files) {
    const path = await obtained(folder, file).catch((thrown: Error) => void console.error(`${file.kind} ${file.name}: ${thrown.message}`));
    if (path === undefined) continue;
    if (file.kind === 'Debian package') debs.push(path);
    await judge(file, (await stat(path)).size, createReadStream(path));
  }
  for (const { kind, name, bytes } of await selfMade(debs.slice(0, REPACKED), (line) => console.error(line)))
    await judge({ kind, name }, bytes.length, Readable.from([bytes]));
  console.log(table(judged));
}

/** Downloaded once. */
async function obtained(folder: string, { url }: ReleaseFile): Promise<string> {
  const path = join(
    folder,
    `${createHash('sha256').update(url).digest('hex').slice(0, 16)}-${decodeURIComponent(url.split('/').at(-1) ?? '')}`,
  );
  if (await stat(path).catch(() => null)) return path;
  const answer = await fetch(url, { signal: AbortSignal.timeout(120_000) });
  if (!answer.ok || answer.body === null) throw new Error(`HTTP ${answer.status}`);
  await pipeline(Readable.fromWeb(answer.body as never), createWriteStream(`${path}.part`));
  await rename(`${path}.part`, path);
  return path;
}

function table(judged: readonly Judged[]): string {
  const kinds = [...new Set(judged.map(({ file }) => file.kind))];
  const row = (name: string, of: readonly Judged[]) => {
    const unscannable = of.filter(({ answer }) => answer.startsWith('unscannable:'));
    const reasons = [...new Set(unscannable.map(({ answer }) => answer))].map(
      (reason) => `${reason} ${unscannable.filter(({ answer }) => answer === reason).length}`,
    );
    const mib = of.reduce((sum, { bytes }) => sum + bytes, 0) / 2 ** 20;
    const share = ((of.length - unscannable.length) * 100) / of.length;
    return `| ${name} | ${of.length} | ${mib.toFixed(0)} | ${of.length - unscannable.length} | ${share.toFixed(0)} % | ${reasons.join(', ') || '–'} |`;
  };
  const head = ['| kind | files | MiB | judged | share | the rest |', '| --- | --- | --- | --- | --- | --- |'];
  return [
    ...head,
    ...kinds.map((kind) =>
      row(
        kind,
        judged.filter(({ file }) => file.kind === kind),
      ),
    ),
    row('all', judged),
  ].join('\n');
}

await inOwnFolder(() => main(process.argv.slice(2)));
