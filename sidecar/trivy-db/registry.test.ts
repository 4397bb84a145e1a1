import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FakeBuilder, fakePublication } from './fakes.ts';
import type { Publication } from './model.ts';
import { createRegistryRoutes, type RegistryParts } from './registry.ts';

const CONFIG = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

let folder: string;
let current: Publication;
let older: Publication;
let builder: FakeBuilder;
let pulls: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-registry-'));
  current = await fakePublication(join(folder, 'current'), Buffer.from('the current archive'));
  older = await fakePublication(join(folder, 'older'), Buffer.from('an older archive'));
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(() => {
  builder = new FakeBuilder();
  builder.publication = current;
  builder.kept = [current, older];
  pulls = [];
});

function ask(path: string, init: RequestInit = {}, auth: RegistryParts['auth'] = null) {
  return createRegistryRoutes({ builder, auth, pulled: (agent) => pulls.push(agent) }).request(path, init);
}

async function codeOf(answer: Response): Promise<string | undefined> {
  const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] };
  expect(errors).toHaveLength(1);
  expect(errors[0]?.message).toMatch(/\w+ \w+/);
  return errors[0]?.code;
}

describe.each(['GET', 'HEAD'])('%s', (method) => {
  it('knows the version of the API', async () => {
    for (const path of ['/v2/', '/v2']) {
      const answer = await ask(path, { method });
      expect([answer.status, answer.headers.get('docker-distribution-api-version')]).toEqual([200, 'registry/2.0']);
    }
  });

  it.each(['2', 'latest', 'its digest', 'an older digest'])('gives the manifest by %s', async (reference) => {
    const expected = reference.includes('older') ? older : current;
    const isTag = !reference.includes('digest');
    const answer = await ask(`/v2/trivy-db/manifests/${isTag ? reference : expected.digest}`, { method });
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': MANIFEST_TYPE,
      'content-length': `${expected.manifest.length}`,
      'docker-content-digest': expected.digest,
      etag: `"${expected.digest}"`,
      'cache-control': isTag ? 'no-cache' : 'private, max-age=31536000, immutable',
    });
    expect(await answer.text()).toBe(method === 'HEAD' ? '' : expected.manifest.toString());
  });

  it.each(['layer', 'older layer', 'config'])('gives the %s', async (which) => {
    const of = which === 'older layer' ? older : current;
    const [digest, text] =
      which === 'config' ? [CONFIG, '{}'] : [of.archive.digest, of === older ? 'an older archive' : 'the current archive'];
    const answer = await ask(`/v2/trivy-db/blobs/${digest}`, { method });
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-length': `${text.length}`,
      'docker-content-digest': digest,
      'content-type': 'application/octet-stream',
    });
    expect(await answer.text()).toBe(method === 'HEAD' ? '' : text);
  });

  it('answers 503 for all of the database before the first publication, so that Trivy goes on to its next repository', async () => {
    builder.publication = null;
    for (const path of [
      'manifests/2',
      'manifests/nothing',
      `manifests/${current.digest}`,
      `blobs/${current.archive.digest}`,
      `blobs/${CONFIG}`,
      'tags/list',
    ]) {
      const answer = await ask(`/v2/trivy-db/${path}`, { method });
      expect([path, answer.status, answer.headers.get('retry-after')]).toEqual([path, 503, '60']);
      if (method === 'GET') expect(await codeOf(answer)).toBe('UNAVAILABLE');
    }
    expect((await ask('/v2/', { method })).status).toBe(200);
  });

  const none = `sha256:${'0'.repeat(64)}`;
  it.each([
    ['/v2/other/manifests/2', 'NAME_UNKNOWN'],
    ['/v2/trivy-db/x/manifests/2', 'NAME_UNKNOWN'],
    ['/v2/_catalog', 'NAME_UNKNOWN'],
    ['/v2/trivy-db/manifests', 'NAME_UNKNOWN'],
    ['/v2/trivy-db/manifests/2/', 'NAME_UNKNOWN'],
    ['/v2/trivy-db/tags/other', 'NAME_UNKNOWN'],
    ['/v2/trivy-db/manifests/3', 'MANIFEST_UNKNOWN'],
    [`/v2/trivy-db/manifests/${none}`, 'MANIFEST_UNKNOWN'],
    ['/v2/trivy-db/manifests/..%2f..%2fetc%2fpasswd', 'MANIFEST_UNKNOWN'],
    [`/v2/trivy-db/blobs/${none}`, 'BLOB_UNKNOWN'],
    ['/v2/trivy-db/blobs/sha256:..%2f..%2fetc', 'BLOB_UNKNOWN'],
    [`/v2/trivy-db/blobs/sha256:${'0'.repeat(65)}`, 'BLOB_UNKNOWN'],
    [`/v2/trivy-db/blobs/sha256:${'0'.repeat(10_000)}`, 'NAME_UNKNOWN'],
  ])('does not know %s', async (path, code) => {
    const answer = await ask(path, { method });
    expect(answer.status).toBe(404);
    if (method === 'GET') expect(await codeOf(answer)).toBe(code);
  });

  it('does not give a manifest as a blob, nor a layer as a manifest', async () => {
    expect((await ask(`/v2/trivy-db/blobs/${older.digest}`, { method })).status).toBe(404);
    expect((await ask(`/v2/trivy-db/manifests/${older.archive.digest}`, { method })).status).toBe(404);
  });
});

it('never asks the builder for what is no digest', async () => {
  const asked: string[] = [];
  builder.byDigest = async (digest) => {
    asked.push(digest);
    return null;
  };
  for (const wrong of ['sha256:abc', 'sha512:00', `sha256:${'A'.repeat(64)}`, '..%2f..']) {
    await ask(`/v2/trivy-db/blobs/${wrong}`);
    await ask(`/v2/trivy-db/manifests/${wrong}`);
  }
  expect(asked).toEqual([]);
});

it('gives parts of a layer', async () => {
  const answer = await ask(`/v2/trivy-db/blobs/${current.archive.digest}`, { headers: { Range: 'bytes=4-10' } });
  expect([answer.status, answer.headers.get('content-range'), await answer.text()]).toEqual([206, 'bytes 4-10/19', 'current']);
  const outside = await ask(`/v2/trivy-db/blobs/${current.archive.digest}`, { headers: { Range: 'bytes=19-' } });
  expect([outside.status, await codeOf(outside)]).toEqual([416, 'DENIED']);
});

it('answers 304 for the manifest that is known', async () => {
  expect((await ask('/v2/trivy-db/manifests/2', { headers: { 'If-None-Match': `"${current.digest}"` } })).status).toBe(304);
});

it('says that a blob is unknown when it goes while it is asked for', async () => {
  builder.kept = [{ ...older, archive: { ...older.archive, path: join(folder, 'removed') } }];
  const answer = await ask(`/v2/trivy-db/blobs/${older.archive.digest}`);
  expect([answer.status, await codeOf(answer)]).toEqual([404, 'BLOB_UNKNOWN']);
});

it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('refuses %s', async (method) => {
  for (const path of ['/v2/', '/v2/trivy-db/blobs/uploads/', '/v2/trivy-db/manifests/2', '/v2/other/x']) {
    const answer = await ask(path, { method });
    expect([answer.status, answer.headers.get('allow'), await codeOf(answer)]).toEqual([405, 'GET, HEAD', 'UNSUPPORTED']);
  }
});

it('lists the tags, in pages where asked', async () => {
  const list = async (query: string) => {
    const answer = await ask(`/v2/trivy-db/tags/list${query}`);
    return [(await answer.json()) as unknown, answer.headers.get('link')];
  };
  const name = 'trivy-db';
  expect(await list('')).toEqual([{ name, tags: ['2', 'latest'] }, null]);
  expect(await list('?n=1')).toEqual([{ name, tags: ['2'] }, '</v2/trivy-db/tags/list?n=1&last=2>; rel="next"']);
  expect(await list('?n=1&last=2')).toEqual([{ name, tags: ['latest'] }, null]);
  expect(await list('?n=0')).toEqual([{ name, tags: [] }, null]);
  expect((await ask('/v2/trivy-db/tags/list?n=x')).status).toBe(400);
});

it('counts the manifests that Trivy takes, and nothing else', async () => {
  const from = (agent: string, method = 'GET', path = 'manifests/2') =>
    ask(`/v2/trivy-db/${path}`, { method, headers: { 'User-Agent': agent } });
  await from('trivy/0.74.0');
  await from(`trivy/0.74.0${'x'.repeat(500)} <script>`);
  await from('trivy/0.74.0', 'HEAD');
  await from('trivy/0.74.0', 'GET', `blobs/${current.archive.digest}`);
  await from('trivy/0.74.0', 'GET', 'manifests/unknown');
  await from('crane/0.22.1');
  await from('not-trivy/1');
  expect(pulls).toEqual(['trivy/0.74.0', `trivy/0.74.0${'x'.repeat(34)}`]);
});

describe('with a user name and a password', () => {
  const auth = { username: 'trivy', password: 'pass:wörd' };
  const basic = (text: string) => ({ headers: { Authorization: `Basic ${Buffer.from(text).toString('base64')}` } });

  it('lets in who has them', async () => {
    expect((await ask('/v2/trivy-db/manifests/2', basic('trivy:pass:wörd'), auth)).status).toBe(200);
  });

  it.each<[string, RequestInit]>([
    ['nothing', {}],
    ['another password', basic('trivy:pass')],
    ['another user', basic('trivx:pass:wörd')],
    ['no colon', basic('trivy')],
    ['a bearer token', { headers: { Authorization: 'Bearer pass:wörd'.replace('ö', 'o') } }],
    ['something else than base64', { headers: { Authorization: 'Basic ***' } }],
  ])('refuses %s, whatever is asked', async (_name, init) => {
    for (const path of ['/v2/', '/v2/trivy-db/manifests/2', `/v2/trivy-db/blobs/${current.archive.digest}`, '/v2/other']) {
      const answer = await ask(path, init, auth);
      expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="pocketwarden"']);
      expect(await codeOf(answer)).toBe('UNAUTHORIZED');
    }
    expect(pulls).toEqual([]);
  });
});
