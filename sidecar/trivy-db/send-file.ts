/** Downloads with ETag, conditions and one range, from a file that stays open however often another one takes its place. */
import { type FileHandle, open } from 'node:fs/promises';
import type { Context } from 'hono';
import type { ServerEnv } from '../roles/role.ts';

export interface Download {
  /** `sha256:…` of the whole content: the strong ETag. */
  readonly digest: string;
  readonly contentType: string;
  /** ISO 8601; when this content began to be served here. */
  readonly since: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body of an answer that is none of the content. */
  refuse(status: 412 | 416, sentence: string): Response;
}

/** Of a Hono context, whatever else it carries. */
type Asked = Pick<Context<ServerEnv>, 'req' | 'env'>;

export interface FileContent {
  readonly path: string;
  readonly size: number;
}

const CHUNK_BYTES = 128 * 1024;
/** Whoever takes longer for one chunk holds the file open on purpose. */
export const STALL_MS = 120_000;

/**
 * Answers GET and HEAD. The file is opened before the headers are decided, so that they and the bytes belong together; it rejects
 * with the error of the system when it cannot be opened, and with a sentence when it is not as large as it was said to be.
 */
export async function sendFile(c: Asked, content: FileContent, download: Download): Promise<Response> {
  const answer = answerFor(c, content.size, download);
  if (answer.range === null) return answer.response();
  const { first, length } = answer.range;
  const file = await openWhole(content);
  return answer.response(streamFile(c, file, first, length));
}

/** As sendFile, of what is in memory. */
export function sendBytes(c: Asked, bytes: Buffer, download: Download): Response {
  const answer = answerFor(c, bytes.length, download);
  if (answer.range === null) return answer.response();
  const { first, length } = answer.range;
  return answer.response(new Uint8Array(bytes.subarray(first, first + length)));
}

/** The whole of a file that may still grow, as large as it is at this moment. It rejects with the error of the system. */
export async function sendGrowingFile(c: Asked, path: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const answerHeaders = { ...headers, 'Content-Length': `${size}` };
    if (c.req.method !== 'HEAD' && size > 0) return new Response(streamFile(c, file, 0, size), { headers: answerHeaders });
    await file.close();
    return new Response(null, { headers: answerHeaders });
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
}

async function openWhole({ path, size }: FileContent): Promise<FileHandle> {
  const file = await open(path, 'r');
  try {
    const found = await file.stat();
    if (found.size !== size || !found.isFile()) throw new Error(`${path} has ${found.size} bytes instead of ${size}`);
    return file;
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
}

interface Answer {
  /** What of the content is sent; null where none is. */
  readonly range: { readonly first: number; readonly length: number } | null;
  response(body?: ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer>): Response;
}

/** RFC 9110, sections 13 and 14. */
function answerFor(c: Asked, size: number, download: Download): Answer {
  const etag = `"${download.digest}"`;
  const since = new Date(download.since).toUTCString();
  const common = { ...download.headers, ETag: etag, 'Last-Modified': since, 'Accept-Ranges': 'bytes' };
  const without = (response: () => Response): Answer => ({ range: null, response });
  const ifMatch = c.req.header('if-match');
  if (ifMatch !== undefined && !names(ifMatch, etag, 'strong'))
    return without(() => download.refuse(412, 'this is no longer what is served here: begin again without If-Match'));
  if (isKnown(c, etag, since)) return without(() => new Response(null, { status: 304, headers: common }));
  const range = c.req.method === 'GET' ? rangeOf(c, etag, size) : null;
  if (range === 'unsatisfiable') {
    return without(() => {
      const refusal = download.refuse(416, `the range is not within the ${size} bytes`);
      refusal.headers.set('Content-Range', `bytes */${size}`);
      return refusal;
    });
  }
  const { first, length } = range ?? { first: 0, length: size };
  const headers = {
    ...common,
    'Content-Type': download.contentType,
    'Content-Length': `${length}`,
    ...(range === null ? {} : { 'Content-Range': `bytes ${first}-${first + length - 1}/${size}` }),
  };
  const response: Answer['response'] = (body) => new Response(body ?? null, { status: range === null ? 200 : 206, headers });
  return c.req.method === 'HEAD' || length === 0 ? without(response) : { range: { first, length }, response };
}

function isKnown(c: Asked, etag: string, since: string): boolean {
  const ifNoneMatch = c.req.header('if-none-match');
  if (ifNoneMatch !== undefined) return names(ifNoneMatch, etag, 'weak');
  const ifModifiedSince = Date.parse(c.req.header('if-modified-since') ?? '');
  return ifModifiedSince >= Date.parse(since);
}

function names(list: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  const bare = (tag: string) => (comparison === 'weak' ? tag.trim().replace(/^W\//, '') : tag.trim());
  return list.trim() === '*' || list.split(',').some((tag) => bare(tag) === etag);
}

/** Null where the whole is asked for, or what cannot be understood: several ranges, other units, a date as If-Range. */
function rangeOf(c: Asked, etag: string, size: number): { first: number; length: number } | 'unsatisfiable' | null {
  const asked = /^bytes=(\d*)-(\d*)$/.exec(c.req.header('range')?.trim() ?? '');
  const ifRange = c.req.header('if-range');
  if (asked === null || (ifRange !== undefined && ifRange.trim() !== etag)) return null;
  const [from, to] = [asked[1]!, asked[2]!];
  if (from === '') {
    if (to === '') return null;
    const length = Math.min(Number(to), size);
    return length === 0 ? 'unsatisfiable' : { first: size - length, length };
  }
  const first = Number(from);
  const last = to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (to !== '' && Number(to) < first) return null;
  return first >= size ? 'unsatisfiable' : { first, length: last - first + 1 };
}

/** Reads only what the other side takes. It closes the file at the end, at a disconnect and when nobody reads any longer. */
function streamFile(c: Asked, file: FileHandle, first: number, length: number): ReadableStream<Uint8Array> {
  const outgoing = c.env?.outgoing;
  let position = first;
  const end = first + length;
  let isOver = false;
  let reading: Promise<unknown> = Promise.resolve();
  const finish = async () => {
    if (isOver) return;
    isOver = true;
    clearTimeout(stall);
    await reading.catch(() => {});
    await file.close();
  };
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  // Without its announced bytes the download is visibly cut: the connection goes, whatever else was to follow on it.
  const giveUp = (why: unknown) => {
    if (outgoing === undefined) controller?.error(why);
    else outgoing.destroy();
    return finish();
  };
  const stall = setTimeout(() => giveUp(new Error('nobody reads this download')).catch(() => {}), STALL_MS);
  stall.unref();
  return new ReadableStream<Uint8Array>(
    {
      start(made) {
        controller = made;
      },
      async pull(made) {
        stall.refresh();
        const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - position));
        const read = file.read(buffer, 0, buffer.length, position);
        reading = read;
        try {
          const { bytesRead } = await read;
          if (isOver) return;
          if (bytesRead === 0) return await giveUp(new Error('the file ended before its announced size'));
          position += bytesRead;
          made.enqueue(buffer.subarray(0, bytesRead));
        } catch (thrown) {
          return await giveUp(thrown);
        }
        if (position < end) return;
        made.close();
        await finish();
      },
      cancel: finish,
    },
    { highWaterMark: 0 },
  );
}
