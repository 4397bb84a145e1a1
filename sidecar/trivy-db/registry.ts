/** The published database as an OCI artifact, read-only: what Trivy, crane and skopeo ask of a registry. */
import { type Context, Hono } from 'hono';
import { codeOf } from '../durable.ts';
import { isSameSecret } from '../http/secrets.ts';
import type { ServerEnv } from '../roles/role.ts';
import type { Builder, Publication } from './model.ts';
import { digestOf, MANIFEST_TYPE } from './pack.ts';
import { type Download, sendBytes, sendFile } from './send-file.ts';

export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
}

export interface RegistryParts {
  readonly builder: Pick<Builder, 'published' | 'byDigest'>;
  /** Null: open to whoever reaches the port. */
  readonly auth: RegistryLogin | null;
  /** A Trivy came for the database. Its User-Agent, as far as it can be one of Trivy's. */
  pulled(userAgent: string): void;
}

type ErrorCode =
  | 'UNAUTHORIZED'
  | 'UNSUPPORTED'
  | 'UNAVAILABLE'
  | 'NAME_UNKNOWN'
  | 'MANIFEST_UNKNOWN'
  | 'BLOB_UNKNOWN'
  | 'PAGINATION_NUMBER_INVALID'
  | 'DENIED';

const NAME = 'trivy-db';
/** The first is the version of the schema, for which Trivy asks where no tag is given. */
const TAGS = ['2', 'latest'];
/** The empty config of OCI, which clients other than Trivy fetch. */
const CONFIG = Buffer.from('{}');
const CONFIG_DIGEST = digestOf(CONFIG);
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TRIVY_AGENT = /^trivy\/[\w.+-]{1,40}/i;
const IMMUTABLE = 'private, max-age=31536000, immutable';

/** Mounted at the root; it answers everything under /v2. */
export function createRegistryRoutes(parts: RegistryParts): Hono<ServerEnv> {
  const routes = new Hono<ServerEnv>();
  const answer = async (c: Context<ServerEnv>) => {
    const response = await answerTo(c, parts);
    response.headers.set('Docker-Distribution-Api-Version', 'registry/2.0');
    return response;
  };
  routes.all('/v2', answer);
  routes.all('/v2/*', answer);
  return routes;
}

async function answerTo(c: Context<ServerEnv>, parts: RegistryParts): Promise<Response> {
  if (parts.auth !== null && !hasLogin(c.req.header('authorization'), parts.auth)) {
    c.header('WWW-Authenticate', 'Basic realm="pocketwarden"');
    return problem(c, 401, 'UNAUTHORIZED', 'user name or password is missing or wrong');
  }
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
    c.header('Allow', 'GET, HEAD');
    return problem(c, 405, 'UNSUPPORTED', 'this registry is read-only: a build fills it');
  }
  const path = c.req.path.slice('/v2'.length);
  if (path === '' || path === '/') return c.json({});
  const [, name = '', rest = ''] = /^\/(.{1,255})\/((?:manifests|blobs|tags)\/[^/]{1,150})$/.exec(path) ?? [];
  if (name !== NAME) return problem(c, 404, 'NAME_UNKNOWN', `there is only ${NAME} here`);
  const published = await parts.builder.published();
  if (published === null) {
    // Not 404, with which Trivy gives up: after 503 it tries its next repository.
    c.header('Retry-After', '60');
    return problem(c, 503, 'UNAVAILABLE', 'no database has been published yet');
  }
  const [kind, reference = ''] = rest.split('/');
  if (kind === 'manifests') return manifest(c, parts, published, reference);
  if (kind === 'blobs') return blob(c, parts.builder, published, reference);
  if (reference === 'list') return tags(c);
  return problem(c, 404, 'NAME_UNKNOWN', 'only the list of tags is here');
}

async function manifest(c: Context<ServerEnv>, parts: RegistryParts, published: Publication, reference: string): Promise<Response> {
  const isTag = TAGS.includes(reference);
  const found =
    isTag || reference === published.digest ? published : DIGEST.test(reference) ? await parts.builder.byDigest(reference) : null;
  if (found === null || (!isTag && found.digest !== reference))
    return problem(c, 404, 'MANIFEST_UNKNOWN', 'there is no such manifest, or it is no longer kept');
  const agent = TRIVY_AGENT.exec(c.req.header('user-agent') ?? '')?.[0];
  if (agent !== undefined && c.req.method === 'GET') parts.pulled(agent);
  const download = downloadOf(c, found, found.digest, MANIFEST_TYPE, isTag ? 'no-cache' : IMMUTABLE);
  return sendBytes(c, found.manifest, download);
}

async function blob(c: Context<ServerEnv>, builder: RegistryParts['builder'], published: Publication, digest: string): Promise<Response> {
  if (digest === CONFIG_DIGEST) return sendBytes(c, CONFIG, downloadOf(c, published, digest, 'application/octet-stream', IMMUTABLE));
  const found = digest === published.archive.digest ? published : DIGEST.test(digest) ? await builder.byDigest(digest) : null;
  const unknown = () => problem(c, 404, 'BLOB_UNKNOWN', 'there is no such blob, or it is no longer kept');
  if (found === null || found.archive.digest !== digest) return unknown();
  try {
    return await sendFile(c, found.archive, downloadOf(c, found, digest, 'application/octet-stream', IMMUTABLE));
  } catch (thrown) {
    // Removed since it was asked for. With this answer Trivy tries its next repository.
    if (codeOf(thrown) === 'ENOENT') return unknown();
    throw thrown;
  }
}

/** Pages as OCI describes them; there are two tags. */
function tags(c: Context<ServerEnv>): Response {
  const [n, last] = [c.req.query('n'), c.req.query('last')];
  if (n !== undefined && !/^\d{1,9}$/.test(n)) return problem(c, 400, 'PAGINATION_NUMBER_INVALID', 'n must be a whole number');
  const left = TAGS.filter((tag) => last === undefined || tag > last);
  const page = left.slice(0, n === undefined ? left.length : Number(n));
  if (page.length > 0 && page.length < left.length) c.header('Link', `</v2/${NAME}/tags/list?n=${n}&last=${page.at(-1)}>; rel="next"`);
  return c.json({ name: NAME, tags: page });
}

function downloadOf(c: Context<ServerEnv>, { publishedAt }: Publication, digest: string, contentType: string, cache: string): Download {
  return {
    digest,
    contentType,
    since: publishedAt,
    headers: { 'Docker-Content-Digest': digest, 'Cache-Control': cache },
    refuse: (status, sentence) => problem(c, status, 'DENIED', sentence),
  };
}

function problem(c: Context<ServerEnv>, status: 400 | 401 | 404 | 405 | 412 | 416 | 503, code: ErrorCode, message: string): Response {
  return c.json({ errors: [{ code, message }] }, status);
}

/** Whether an `Authorization` brings this user name and password. */
export function hasLogin(header: string | undefined, { username, password }: RegistryLogin): boolean {
  const given = /^Basic ([A-Za-z0-9+/]{1,2000}={0,2})$/i.exec(header ?? '')?.[1];
  if (given === undefined) return false;
  return isSameSecret(Buffer.from(given, 'base64').toString('utf8'), `${username}:${password}`);
}
