import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { Payload } from './payload.ts';

const SILENCE_MS = 60_000;

const buildSchema = z.object({ id: z.string(), collectionId: z.string(), files: z.array(z.string()).min(1) });
export type Build = z.infer<typeof buildSchema>;

const checkSchema = z.object({
  build: z.string(),
  status: z.string(),
  open: z.boolean(),
  reason: z.string(),
  virus_name: z.string(),
  engine: z
    .object({ signatures: z.union([z.number(), z.string()]) })
    .nullish()
    .catch(null),
});
export type Check = z.infer<typeof checkSchema>;

export interface GateAnswer {
  readonly status: number;
  /** The gate's machine code; empty when the bytes came. */
  readonly code: string;
  readonly bytes: number;
  /** Of what came. */
  readonly sha256: string;
}

/** What the demo asks of PocketBase: as a superuser to upload and to read checks, as nobody to download. */
export class DemoClient {
  readonly #url: string;
  readonly #token: string;

  private constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  /** Throws with one sentence when PocketBase cannot be reached or refuses. */
  static async login(url: string, identity: string, password: string): Promise<DemoClient> {
    const response = await fetch(`${url}/api/collections/_superusers/auth-with-password`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ identity, password }),
    }).catch((error: Error) => {
      throw new Error(
        `PocketBase cannot be reached at ${url} (${error.cause instanceof Error ? error.cause.message : error.message}): is npm start running?`,
      );
    });
    const answer = (await response.json()) as { token?: string; message?: string };
    if (!response.ok || answer.token === undefined)
      throw new Error(`PocketBase does not let ${identity} in (${response.status}): ${answer.message ?? ''}`);
    return new DemoClient(url, answer.token);
  }

  /** Creates one build with one file, sent as it is made. */
  async upload(payload: Payload): Promise<Build> {
    const boundary = `pocketwarden-${randomUUID()}`;
    const fields = Object.entries({ app: 'demo', os: 'linux', arch: 'amd64', branch: 'main' }).map(
      ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    );
    const file = `--${boundary}\r\nContent-Disposition: form-data; name="files"; filename="${payload.name}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
    const head = Buffer.from(fields.join('') + file);
    const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
    const response = await this.#send('POST', '/api/collections/app_builds/records', {
      headers: {
        'content-type': `multipart/form-data; boundary=${boundary}`,
        'content-length': String(head.length + payload.size + tail.length),
      },
      body: [head, payload.chunks(), tail],
    });
    const answer = await json(response);
    if (response.statusCode !== 200)
      throw new Error(`the upload of ${payload.name} was answered ${response.statusCode}: ${JSON.stringify(answer)}`);
    return buildSchema.parse(answer);
  }

  /** The checks of these builds, in no order. */
  async checks(builds: readonly Build[]): Promise<Check[]> {
    const filter = builds.map(({ id }) => `build='${id}'`).join('||');
    const response = await this.#send('GET', `/api/collections/av_build_checks/records?perPage=100&filter=${encodeURIComponent(filter)}`);
    const answer = await json(response);
    if (response.statusCode !== 200) throw new Error(`reading the checks was answered ${response.statusCode}: ${JSON.stringify(answer)}`);
    return z.object({ items: z.array(checkSchema) }).parse(answer).items;
  }

  async remove(build: Build): Promise<void> {
    const response = await this.#send('DELETE', `/api/collections/app_builds/records/${build.id}`);
    response.resume();
    if (response.statusCode !== 204) throw new Error(`deleting build ${build.id} was answered ${response.statusCode}`);
  }

  /** One download as anybody could do it: no token, no cookie. Reads to the end, keeping nothing. */
  async downloadAnonymously(build: Build): Promise<GateAnswer> {
    const path = `/api/files/${build.collectionId}/${build.id}/${encodeURIComponent(build.files[0] ?? '')}`;
    const response = await this.#send('GET', path, { anonymous: true });
    if (response.statusCode === 404) return await this.#shut(build, response);
    if (response.statusCode !== 200) return refused(response);
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      hash.update(chunk);
    }
    return { status: 200, code: '', bytes, sha256: hash.digest('hex') };
  }

  /** The second lock gives no reasons; the route for whoever may see the build does. */
  async #shut({ id }: Build, response: IncomingMessage): Promise<GateAnswer> {
    response.resume();
    const answer = await json(await this.#send('GET', `/api/av/builds/${id}`, { anonymous: true })).catch(() => null);
    const told = z.object({ status: z.string(), open: z.literal(false) }).safeParse(answer);
    return { status: 404, code: told.success ? told.data.status : '', bytes: 0, sha256: '' };
  }

  async #send(
    method: string,
    path: string,
    {
      headers = {},
      body = [],
      anonymous = false,
    }: { headers?: Record<string, string>; body?: (Buffer | Iterable<Buffer>)[]; anonymous?: boolean } = {},
  ): Promise<IncomingMessage> {
    const url = new URL(this.#url + path);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(url, { method, headers: anonymous ? headers : { ...headers, authorization: this.#token } });
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`${method} ${url.pathname}: silence for ${SILENCE_MS / 1000} s`)));
    const answered = new Promise<IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject));
    // A refusal may come before the body was sent; the answer says why, a broken pipe would not.
    const sent = pipeline(Readable.from(flatten(body)), request).catch(() => {});
    const response = await answered;
    await sent;
    return response;
  }
}

async function refused(response: IncomingMessage): Promise<GateAnswer> {
  const body = z.object({ data: z.object({ scan: z.object({ code: z.string() }) }) }).safeParse(await json(response).catch(() => null));
  return { status: response.statusCode ?? 0, code: body.success ? body.data.data.scan.code : '', bytes: 0, sha256: '' };
}

function* flatten(body: (Buffer | Iterable<Buffer>)[]): Iterable<Buffer> {
  for (const part of body) {
    if (Buffer.isBuffer(part)) yield part;
    else yield* part;
  }
}
