/** The OpenAPI document of the trivy-db role, made of the schemas that its clients use. */
import type { z } from 'zod';
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiPathsObject, type ZodOpenApiResponsesObject } from 'zod-openapi';
import { version } from '../version.ts';
import * as api from './api.ts';

let document: ReturnType<typeof createDocument> | null = null;

/** OpenAPI 3.1; made once. */
export function apiDocument(): ReturnType<typeof createDocument> {
  document ??= createDocument({
    openapi: '3.1.0',
    info: {
      title: 'Pocketwarden: Trivy DB',
      version,
      description: 'Builds the vulnerability database of Trivy and serves it as a download and as an OCI artifact.',
    },
    tags: [
      { name: 'monitor', description: 'open to whoever reaches the port, but for the downloads where the registry has a password' },
      { name: 'operate', description: 'for operators' },
      { name: 'registry', description: 'OCI distribution, read-only' },
    ],
    components: {
      securitySchemes: {
        operator: {
          type: 'http',
          scheme: 'bearer',
          description:
            'OPERATOR_TOKEN, or the token of a PocketBase superuser. The session of the console and a trusted proxy count as well.',
        },
        registry: { type: 'http', scheme: 'basic', description: 'where TRIVY_DB_REGISTRY_USERNAME is set; for the downloads too' },
      },
    },
    paths: { ...monitorPaths, ...operatePaths, ...registryPaths },
  });
  return document;
}

const json = (description: string, schema: z.ZodType) => ({ description, content: { 'application/json': { schema } } });
const refused = (description: string) => json(description, api.refusedAnswer);
const error = (description: string) => json(description, api.errorAnswer);
const binary = { schema: { type: 'string', format: 'binary' } } as const;
const file = (description: string, type: string) => ({ description, content: { [type]: binary } });

type Operation = Omit<ZodOpenApiOperationObject, 'responses'>;
const open = (summary: string, responses: ZodOpenApiResponsesObject, more: Operation = {}) => ({
  tags: ['monitor'],
  summary,
  responses,
  ...more,
});

const operate = (summary: string, responses: ZodOpenApiResponsesObject, more: Operation = {}) => ({
  tags: ['operate'],
  security: [{ operator: [] }],
  summary,
  responses: {
    ...responses,
    '401': error('nobody is logged in'),
    '403': error('a change that does not come from our own pages'),
  } satisfies ZodOpenApiResponsesObject,
  ...more,
});

const change = (summary: string, done: z.ZodType, responses: ZodOpenApiResponsesObject, more: Operation = {}) =>
  operate(
    summary,
    { '200': json('done', done), ...responses, '411': error('a body of unknown length'), '413': error('a body, and a large one') },
    more,
  );

const downloads = (what: string, type: string, missing: ZodOpenApiResponsesObject): ZodOpenApiResponsesObject => ({
  '200': file(`the whole ${what}`, type),
  '206': file('the range that was asked for', type),
  '304': { description: 'it is the one that is known' },
  '412': error('it is not the one of If-Match'),
  '416': error('the range is outside'),
  ...missing,
});
const download = (summary: string, what: string, type: string) => ({
  ...open(summary, downloads(what, type, beforeFirst)),
  security: [{ registry: [] }, { operator: [] }, {}],
});
const beforeFirst = {
  '401': error('where TRIVY_DB_REGISTRY_USERNAME is set: user name or password is missing or wrong, and nobody is logged in'),
  '404': error('before the first build'),
};

const inPath = (name: string, description: string): Operation => ({
  parameters: [{ name, in: 'path', required: true, description, schema: { type: 'string' } }],
});
const ofBuild = inPath('id', 'of the build');

const monitorPaths: ZodOpenApiPathsObject = {
  '/api/status': { get: open('What is built now, and what is published', { '200': json('at most half a second old', api.statusAnswer) }) },
  '/api/logs': {
    get: open(
      'The newest lines of the newest log',
      { '200': json('none before the first build', api.logsAnswer), '400': error('lines is not a number from 1 to 1000') },
      { requestParams: { query: api.logsQuery } },
    ),
  },
  '/api/logs/stream': {
    get: open(
      'The log as it is written, from build to build',
      {
        '200': {
          description: 'Events `build`, `line` and `end`, the data of each in JSON; resumes by Last-Event-ID.',
          content: { 'text/event-stream': { schema: api.streamEvents.build.or(api.streamEvents.line).or(api.streamEvents.end) } },
        },
        '204': { description: 'the build that was asked for is over and all of it seen: do not come back' },
        '400': error('a parameter is wrong'),
        '404': error('the build that was asked for has no log'),
        '503': error('too many viewers, in all or from one address; operators are counted apart'),
      },
      { requestParams: { query: api.streamQuery } },
    ),
  },
  '/api/download/db': { get: download('trivy.db.tar.gz', 'archive', 'application/gzip') },
  '/api/download/metadata': { get: download('metadata.json', 'file', 'application/json') },
  '/api/openapi.json': {
    get: open('This document', { '200': { description: 'OpenAPI 3.1', content: { 'application/json': { schema: {} } } } }),
  },
};

const operatePaths: ZodOpenApiPathsObject = {
  '/api/build': {
    post: change('Start a build', api.startedAnswer, {
      '409': refused('a build runs, or the lock is held'),
      '503': refused('the process is stopping'),
      '507': refused('too little space on the disk'),
    }),
  },
  '/api/build/cancel': { post: change('Stop the build that runs', api.doneAnswer, { '409': refused('none runs here') }) },
  '/api/clear-lock': { post: change('Remove the lock of a dead process', api.doneAnswer, { '409': refused('its holder lives') }) },
  '/api/builder': { get: operate('All that a page about the builder shows', { '200': json('now', api.builderAnswer) }) },
  '/api/builds': {
    get: operate(
      'The history',
      { '200': json('a page of it', api.buildsAnswer), '400': error('a parameter is wrong') },
      { requestParams: { query: api.buildsQuery } },
    ),
  },
  '/api/builds/{id}': {
    get: operate('One build', { '200': json('what is known of it', api.buildRecord), '404': error('no such build') }, ofBuild),
  },
  '/api/builds/{id}/logs': {
    get: operate(
      'Lines of its log',
      {
        '200': json('at most 1000, and fewer where they are longer than 2 MiB: go on after the last one', api.buildLogAnswer),
        '400': error('a parameter is wrong'),
        '404': error('no such log'),
      },
      { ...ofBuild, requestParams: { query: api.buildLogQuery } },
    ),
  },
  '/api/builds/{id}/log': {
    get: operate('Its whole log', { '200': file('as it was written', 'text/plain'), '404': error('no such log') }, ofBuild),
  },
  '/api/builds/{id}/publish': {
    post: change(
      'Make a kept build the published one',
      api.doneAnswer,
      { '404': refused('no such build'), '409': refused('its archive is not kept, or a build runs') },
      ofBuild,
    ),
  },
};

const registryError = (description: string) => json(description, api.registryErrorAnswer);
const registry = (summary: string, responses: ZodOpenApiResponsesObject, more: Operation = {}) => ({
  tags: ['registry'],
  security: [{ registry: [] }, {}],
  summary,
  responses: { ...responses, '401': registryError('user name or password is missing or wrong') } satisfies ZodOpenApiResponsesObject,
  ...more,
});
const unpublished = { '503': registryError('before the first publication: Trivy then tries its next repository') };

const registryPaths: ZodOpenApiPathsObject = {
  '/v2/': { get: registry('Whether this is a registry', { '200': { description: 'it is' } }) },
  '/v2/trivy-db/tags/list': { get: registry('Its tags', { '200': json('all of them', api.tagsAnswer), ...unpublished }) },
  '/v2/trivy-db/manifests/{reference}': {
    get: registry(
      'The manifest',
      {
        '200': {
          description: 'as it was packed',
          content: { 'application/vnd.oci.image.manifest.v1+json': { schema: { type: 'object' } } },
        },
        '404': registryError('no such tag or digest'),
        ...unpublished,
      },
      inPath('reference', '`2`, `latest` or a digest'),
    ),
  },
  '/v2/trivy-db/blobs/{digest}': {
    get: registry(
      'The layer, or the empty config',
      {
        '200': file('the whole blob', 'application/octet-stream'),
        '206': file('the range that was asked for', 'application/octet-stream'),
        '404': registryError('no such blob'),
        ...unpublished,
      },
      inPath('digest', '`sha256:` and hex'),
    ),
  },
};
