/** One HTTP request for a part of a file, and what its answer means. By node:http: fetch costs half as much CPU again. */
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { HOOKS_MISSING } from './api-error.ts';
import { connectionFailed, TransferError } from './transfer-error.ts';

export interface RangeRequest {
  readonly url: URL;
  readonly agent: Agent;
  readonly headers: Readonly<Record<string, string>>;
  /** First byte wanted. */
  readonly from: number;
  /** Behind the last byte wanted. */
  readonly to: number;
  /** Size of the whole file where it is known already. */
  readonly size: number | null;
  /** From the request to the head of the answer. */
  readonly headMs: number;
}

export interface RangeAnswer {
  /** Of the whole file. */
  readonly size: number;
  /** Behind the last byte that this answer brings. */
  readonly to: number;
  /** null where there is nothing to read. */
  readonly body: IncomingMessage | null;
}

/** PocketBase answers errors in a few hundred bytes. */
const MAX_REFUSAL_BYTES = 16 * 1024;

/** Of a limit of rates, or of a proxy whose PocketBase is away or busy: it says nothing about the file. */
const OVERLOADED: readonly number[] = [429, 502, 503, 504];

/** Thrown for a 401: the token has to be replaced. */
export class UnauthorizedError extends Error {
  override readonly name = 'UnauthorizedError';
}

export async function requestRange(options: RangeRequest, signal: AbortSignal): Promise<RangeAnswer> {
  const response = await head(options, signal);
  try {
    return await judge(options, response);
  } catch (thrown) {
    response.destroy();
    throw thrown;
  }
}

function head(options: RangeRequest, signal: AbortSignal): Promise<IncomingMessage> {
  const { url, agent, headers, from, to, headMs } = options;
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // identity: a compressed answer would have other bytes, and other ranges, than the file.
    const outgoing = send(url, { agent, headers: { ...headers, range: `bytes=${from}-${to - 1}`, 'accept-encoding': 'identity' } });
    const late = () => outgoing.destroy(new TransferError('download', 'later', `PocketBase sent nothing for ${headMs / 1000} s`));
    const timer = setTimeout(late, headMs);
    const abort = () => outgoing.destroy(new TransferError('download', 'never', 'aborted'));
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    };
    signal.addEventListener('abort', abort, { once: true });
    outgoing.once('response', (response) => {
      done();
      resolve(response);
    });
    // Stays for good: a connection that breaks after its answer must not end the process.
    outgoing.on('error', (error) => {
      done();
      reject(connectionFailed(error, outgoing.reusedSocket));
    });
    outgoing.end();
  });
}

async function judge(options: RangeRequest, response: IncomingMessage): Promise<RangeAnswer> {
  switch (response.statusCode) {
    case 206:
      return partOf(options, response);
    case 200:
      // Go ignores the Range header for an empty file.
      if (response.headers['content-length'] === '0') return empty(options, response);
      throw broken('the whole file was sent where a part of it was asked for');
    case 416:
      if (response.headers['content-range'] === 'bytes */0') return empty(options, response);
      throw broken('the file is shorter than it was');
    case 401:
      throw new UnauthorizedError('PocketBase does not accept the token');
    default:
      throw refusalOf(response.statusCode ?? 0, await codeIn(response));
  }
}

function partOf({ from, to, size }: RangeRequest, response: IncomingMessage): RangeAnswer {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(response.headers['content-range'] ?? '');
  if (match === null) throw broken(`an answer with the Content-Range ${JSON.stringify(response.headers['content-range'] ?? '')}`);
  const [start, last, total] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (size !== null && total !== size) throw broken(`the file had ${size} bytes and now has ${total}`);
  if (start !== from || last !== Math.min(to, total) - 1)
    throw broken(`bytes ${from} to ${to - 1} were asked for and ${start} to ${last} were sent`);
  const length = response.headers['content-length'];
  if (length !== undefined && Number(length) !== last - start + 1) throw broken(`${length} bytes were announced for ${last - start + 1}`);
  const encoding = response.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw broken(`the bytes were sent as ${encoding}`);
  return { size: total, to: last + 1, body: response };
}

function empty({ size }: RangeRequest, response: IncomingMessage): RangeAnswer {
  if (size !== null && size !== 0) throw broken(`the file had ${size} bytes and is empty now`);
  response.resume();
  return { size: 0, to: 0, body: null };
}

function broken(message: string): TransferError {
  return new TransferError('download', 'never', `PocketBase contradicts itself: ${message}`);
}

function refusalOf(status: number, code: string): TransferError {
  if (status === 409 || code === 'lease_lost') return new TransferError('lease-lost', 'never', 'PocketBase says that the lease is lost');
  if (code === 'file_missing') return new TransferError('download:missing', 'never', 'the storage of PocketBase has lost the file');
  if (code === 'file_unknown') return new TransferError('download', 'never', 'the build does not list the file any more');
  if (status === 404) return new TransferError('store-unavailable', 'never', HOOKS_MISSING);
  if (status === 403) return new TransferError('store-unavailable', 'never', 'PocketBase refuses this superuser its files');
  const message = `PocketBase answered ${status} to a download`;
  if (OVERLOADED.includes(status)) return new TransferError('store-unavailable', 'later', message);
  return new TransferError('download', status >= 500 ? 'later' : 'never', message);
}

/** The machine code in PocketBase's error: `data` holds one member with a `code`. */
async function codeIn(response: IncomingMessage): Promise<string> {
  try {
    let text = '';
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > MAX_REFUSAL_BYTES) return '';
    }
    const { data } = JSON.parse(text) as { data?: Record<string, { code?: unknown }> };
    return String(Object.values(data ?? {})[0]?.code ?? '');
  } catch {
    return '';
  }
}
