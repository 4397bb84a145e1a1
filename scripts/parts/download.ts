import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Report } from './report.ts';

const CONNECT_MS = 10_000;
const STALL_MS = 30_000;

/**
 * Downloads one file and accepts it only with the given SHA-256. Gives up when no answer comes within 10 s or no byte for 30 s,
 * so that a machine without internet loses little time. The file is incomplete until this resolves.
 */
export async function download(url: string, sha256: string, path: string, report: Report): Promise<void> {
  const abort = new AbortController();
  let timer = setTimeout(() => abort.abort(new Error('no answer within 10 s')), CONNECT_MS);
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new Error('no data for 30 s')), STALL_MS);
  };
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status} from ${new URL(url).host}`);
    report(`downloading ${url}${sizeOf(response)}`);
    const hash = createHash('sha256');
    const watch = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        alive();
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(Readable.fromWeb(response.body as never), watch, createWriteStream(path), { signal: abort.signal });
    const seen = hash.digest('hex');
    if (seen !== sha256) throw new Error(`the checksum is ${seen}, not ${sha256}; refused`);
  } catch (error) {
    throw new Error(explain(error, abort.signal), { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function sizeOf(response: Response): string {
  const length = Number(response.headers.get('content-length'));
  return length > 0 ? ` (${Math.ceil(length / 2 ** 20)} MiB)` : '';
}

/** fetch says only "fetch failed"; what happened is in its cause. */
function explain(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return String((signal.reason as Error).message);
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message;
}
