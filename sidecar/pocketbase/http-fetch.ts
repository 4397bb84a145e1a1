/** A fetch for the SDK over node:http: the one that comes with Node holds 20 MB more once it has been used. */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

/** What the SDK reads of an answer. */
export interface JsonAnswer {
  readonly status: number;
  readonly url: string;
  json(): Promise<unknown>;
}

/** What the SDK sends: JSON text and plain headers. */
export interface JsonRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | null;
}

/** Claims answer with some hundred bytes for a file; what is much more is not PocketBase. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** Follows no redirect and keeps its connections. Rejects with the network's error, or with the signal's reason once it aborts. */
export function createHttpFetch(): (url: string, request?: JsonRequest) => Promise<JsonAnswer> {
  const agent = new Agent({ keepAlive: true });
  const tlsAgent = new HttpsAgent({ keepAlive: true });
  return async (url, request = {}) => {
    const isTls = url.startsWith('https:');
    const response = await head(url, request, isTls ? tlsAgent : agent, isTls ? httpsRequest : httpRequest);
    const text = await bodyOf(response);
    return { status: response.statusCode ?? 0, url, json: async () => JSON.parse(text) };
  };
}

function head(
  url: string,
  { method = 'GET', headers = {}, body, signal }: JsonRequest,
  agent: Agent,
  send: typeof httpRequest,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const text = typeof body === 'string' ? body : '';
    const length = text === '' ? {} : { 'content-length': String(Buffer.byteLength(text)) };
    const outgoing = send(url, { method, agent, headers: { ...headers, ...length }, ...(signal ? { signal } : {}) }, resolve);
    outgoing.on('error', (error) => reject(signal?.aborted ? signal.reason : error));
    outgoing.end(text);
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
