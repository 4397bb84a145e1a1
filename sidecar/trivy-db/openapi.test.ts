import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeBuilder, FakeBuildLogs, fakeAccess, fakePublication, fakeRecord } from './fakes.ts';
import { apiDocument } from './openapi.ts';
import { createRegistryRoutes } from './registry.ts';
import { createTrivyDbRoutes } from './routes.ts';

const id = '20261121T160000Z-aaaaaa';
const builder = new FakeBuilder();
const logs = new FakeBuildLogs();
const api = createTrivyDbRoutes({ builder, logs, access: fakeAccess, now: () => 0, events: { asked() {} } });
const app = createRegistryRoutes({ builder, auth: null, pulled() {} }).route('/', api);
const document = JSON.parse(JSON.stringify(apiDocument())) as Document;

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, unknown>>; readonly securitySchemes: Readonly<Record<string, unknown>> };
}

interface Operation {
  readonly summary: string;
  readonly security?: readonly Readonly<Record<string, unknown>>[];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Readonly<Record<string, unknown>> }>>;
}

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-openapi-'));
  builder.publication = await fakePublication(join(folder, 'archive'), Buffer.from('archive'));
  builder.records = [fakeRecord(id)];
  logs.begin(id, join(folder, 'archive'));
  logs.write(id, 'a line');
  logs.end(id);
});
afterAll(() => rm(folder, { recursive: true }));

function ask(method: string, path: string, headers: Record<string, string> = {}) {
  const filled = path.replace('{id}', id).replace('{reference}', '2').replace('{digest}', builder.publication!.archive.digest);
  return app.request(path === '/api/logs/stream' ? `${filled}?build=${id}` : filled, { method, headers });
}

it('describes every route, and no other', () => {
  const served = api.routes.map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const described = operations.filter(({ path }) => !path.startsWith('/v2')).map(({ method, path }) => `${method} ${path}`);
  expect([...new Set(described)].sort()).toEqual([...new Set(served)].sort());
  expect(served.filter((route) => route.startsWith('ALL'))).toEqual([]);
});

it('is OpenAPI 3.1, and everything it refers to is in it', () => {
  expect(document.openapi).toBe('3.1.0');
  const text = JSON.stringify(document);
  const refs = [...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);
  expect(refs.length).toBeGreaterThan(20);
  for (const name of refs) expect(document.components.schemas).toHaveProperty(name);
  expect(text.match(/"\$ref"/g)).toHaveLength(refs.length);
  for (const { path, operation } of operations) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect(operation.parameters?.filter((parameter) => parameter.in === 'path').map(({ name }) => name) ?? []).toEqual(inPath);
    expect(operation.summary).toMatch(/\w+/);
  }
});

it('is answered as it is', async () => {
  const answer = await ask('GET', '/api/openapi.json');
  expect(await answer.json()).toEqual(document);
});

describe.each(operations)('$method $path', ({ method, path, operation }) => {
  const needsOperator = operation.security?.every((each) => 'operator' in each) ?? false;

  it('answers as it is described', async () => {
    const answer = await ask(method, path, { Authorization: 'Bearer let-me-in' });
    expect(answer.status).toBe(200);
    const type = answer.headers.get('content-type')?.split(';')[0];
    const described = Object.keys(operation.responses['200']?.content ?? {});
    if (described.length > 0) expect(described).toEqual([type]);
    await answer.body?.cancel();
  });

  it(`is ${needsOperator ? 'for operators' : 'open'}, as it is described`, async () => {
    const answer = await ask(method, path);
    expect(answer.status).toBe(needsOperator ? 401 : 200);
    if (needsOperator) expect(operation.responses).toHaveProperty('401');
    await answer.body?.cancel();
  });
});
