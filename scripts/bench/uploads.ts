/** Uploading builds as a client would, at as little cost of our own as possible. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import type { Build } from '../../test/harness/builds.ts';
import type { RunningPocketBase } from '../../test/harness/pocketbase.ts';
import { Connections, inParallel } from './http.ts';

const path = '/api/collections/app_builds/records';
const boundary = 'pocketwarden-bench-7f1c2a';
const opening = Buffer.from(
  `--${boundary}\r\nContent-Disposition: form-data; name="files"; filename="build.bin"\r\nContent-Type: application/octet-stream\r\n\r\n`,
);
const closing = Buffer.from(`\r\n--${boundary}--\r\n`);

export interface Uploader extends Disposable {
  /** Resolves with the build when the answer has come. */
  upload(content: Buffer): Promise<Build>;
  uploadFile(file: { readonly path: string; readonly bytes: number }): Promise<Build>;
}

export function createUploader(pb: Pick<RunningPocketBase, 'url' | 'client'>, connections: number): Uploader {
  const http = new Connections(pb.url, connections);
  const send = async (body: Buffer | Readable, bytes: number): Promise<Build> => {
    const headers = {
      Authorization: pb.client.authStore.token,
      'Content-Type': `multipart/form-data; boundary=${boundary}`,
      'Content-Length': String(bytes),
    };
    const answer = await http.send(path, { method: 'POST', headers, body });
    if (answer.status !== 200) throw new Error(`an upload was answered ${answer.status}: ${answer.body.toString().slice(0, 300)}`);
    return JSON.parse(answer.body.toString()) as Build;
  };
  return {
    upload(content) {
      const body = Buffer.concat([opening, content, closing]);
      return send(body, body.length);
    },
    uploadFile: (file) => send(Readable.from(framed(file.path)), opening.length + file.bytes + closing.length),
    [Symbol.dispose]: () => http[Symbol.dispose](),
  };
}

/** One build per content, in their order. */
export async function uploadAll(pb: RunningPocketBase, contents: readonly Buffer[], concurrency = 8): Promise<Build[]> {
  using uploader = createUploader(pb, concurrency);
  const builds: Build[] = [];
  await inParallel(contents.length, concurrency, async (index) => {
    builds[index] = await uploader.upload(contents[index]!);
  });
  return builds;
}

async function* framed(file: string): AsyncGenerator<Buffer> {
  yield opening;
  yield* createReadStream(file, { highWaterMark: 1024 * 1024 });
  yield closing;
}
