import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import { download } from './download.ts';
import { unzipMember } from './unzip.ts';

const content = Buffer.from('a release asset');
const sum = createHash('sha256').update(content).digest('hex');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-download-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function serve(handler: RequestListener): Promise<string> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/asset`;
}

describe('a download', () => {
  it('arrives whole, redirects included', async () => {
    const url = await serve((request, response) => {
      if (request.url === '/asset') response.writeHead(302, { location: '/elsewhere' }).end();
      else response.end(content);
    });
    await download(url, sum, join(folder, 'asset'), () => {});
    expect(await readFile(join(folder, 'asset'))).toEqual(content);
  });

  it('is refused when its checksum is another', async () => {
    const url = await serve((_request, response) => response.end('something else'));
    await expect(download(url, sum, join(folder, 'asset'), () => {})).rejects.toThrow(/the checksum is [0-9a-f]{64}, not .*; refused/);
  });

  it('fails when it breaks off', async () => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write(content, () => response.destroy());
    });
    await expect(download(url, sum, join(folder, 'asset'), () => {})).rejects.toThrow();
  });

  it('says what the server answered, or that nobody did', async () => {
    const url = await serve((_request, response) => response.writeHead(404).end());
    await expect(download(url, sum, join(folder, 'asset'), () => {})).rejects.toThrow(/HTTP 404 from 127\.0\.0\.1/);
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    await expect(download(`http://127.0.0.1:${port}/asset`, sum, join(folder, 'asset'), () => {})).rejects.toThrow(/ECONNREFUSED/);
  });
});

describe('unzipping', () => {
  it('finds one member among others, deflated or stored', () => {
    const zip = zipOf(
      { name: 'README', data: Buffer.from('first') },
      { name: 'program', data: content },
      { name: 'stored', data: content, method: 0 },
    );
    expect(unzipMember(zip, 'program')).toEqual(content);
    expect(unzipMember(zip, 'stored')).toEqual(content);
  });

  it('throws on a missing member and on what is no zip', () => {
    expect(() => unzipMember(zipOf({ name: 'other', data: content }), 'program')).toThrow('program is not in the archive');
    expect(() => unzipMember(Buffer.from('no zip at all'), 'program')).toThrow('not a zip archive');
  });
});
