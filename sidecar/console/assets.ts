/** Styles and scripts for browsers, as `npm run build` made them: read once, served from memory, cached for ever by their digest. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Hono } from 'hono';

export interface Assets {
  /** The address under which this file never changes. Throws for a file that there is not. */
  address(name: string): string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the app's own bindings are
  addTo(app: Hono<any>): void;
}

interface Asset {
  readonly plain: Uint8Array<ArrayBuffer>;
  readonly br: Uint8Array<ArrayBuffer> | null;
  readonly gzip: Uint8Array<ArrayBuffer> | null;
  readonly digest: string;
  readonly type: string;
}

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};
const FOR_EVER = 'public, max-age=31536000, immutable';
/** esbuild names what several scripts share by its content. */
const NAMED_BY_CONTENT = /-[A-Z0-9]{8}\.js$/;
/** Pages of other sites may embed this one. */
const EMBEDDABLE = 'av-status.js';

/** Throws a sentence when the folder is not there. */
export function loadAssets(dir = builtFolder()): Assets {
  const assets = new Map(
    readdirSync(dir).flatMap((name) => (Object.hasOwn(TYPES, extname(name)) ? [[name, load(dir, name)] as const] : [])),
  );
  return {
    address(name) {
      const asset = assets.get(name);
      if (asset === undefined) throw new Error(`there is no asset ${name} in ${dir}: run npm run build`);
      return `/assets/${name}?v=${asset.digest}`;
    },
    addTo(app) {
      app.get('/assets/:name', (c) => {
        const name = c.req.param('name') ?? '';
        const asset = assets.get(name);
        if (asset === undefined) return c.notFound();
        const accepted = c.req.header('accept-encoding') ?? '';
        const [encoding, body] =
          /\bbr\b/.test(accepted) && asset.br
            ? ['br', asset.br]
            : /\bgzip\b/.test(accepted) && asset.gzip
              ? ['gzip', asset.gzip]
              : [null, asset.plain];
        const etag = `"${asset.digest}${encoding ?? ''}"`;
        c.header('ETag', etag);
        c.header('Vary', 'Accept-Encoding');
        c.header('X-Content-Type-Options', 'nosniff');
        c.header('Cache-Control', c.req.query('v') === asset.digest || NAMED_BY_CONTENT.test(name) ? FOR_EVER : 'no-cache');
        if (name === EMBEDDABLE) {
          c.header('Access-Control-Allow-Origin', '*');
          c.header('Cross-Origin-Resource-Policy', 'cross-origin');
        }
        if (c.req.header('if-none-match') === etag) return c.body(null, 304);
        c.header('Content-Type', asset.type);
        if (encoding !== null) c.header('Content-Encoding', encoding);
        return c.body(body);
      });
    },
  };
}

/** Beside the bundle; for tests that run the sources, where the build puts it. */
function builtFolder(): string {
  const places = ['./assets/', '../../build/sidecar/assets/'].map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const found = places.find((place) => existsSync(place));
  if (found === undefined) throw new Error(`the styles and scripts of the console are not in ${places[0]}: run npm run build`);
  return found;
}

function load(dir: string, name: string): Asset {
  const read = (file: string) => (existsSync(join(dir, file)) ? new Uint8Array(readFileSync(join(dir, file))) : null);
  const plain = read(name)!;
  const digest = createHash('sha256').update(plain).digest('base64url').slice(0, 12);
  return { plain, br: read(`${name}.br`), gzip: read(`${name}.gz`), digest, type: TYPES[extname(name)]! };
}
