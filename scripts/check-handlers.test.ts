import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkHandlers } from './check-handlers.ts';

const library = 'module.exports = { gate() {}, sweep() {} }';
const entry = (handler: string) => `const outside = 1; onFileDownloadRequest(${handler})`;
// biome-ignore lint/suspicious/noTemplateCurlyInString: this is the text of a handler
const call = 'require(`${__hooks}/av/lib.js`)';

describe('the check of handlers', () => {
  it('accepts one call of an exported function', () => {
    expect(
      checkHandlers(`${entry(`(e) => { ${call}.gate(e) }`)}; cronAdd('x', '* * * * *', () => { ${call}.sweep($app) })`, library),
    ).toEqual([]);
  });

  it.each([
    ['a name from outside', `(e) => { ${call}.gate(outside) }`, 'outside, which does not exist'],
    ['more than a call', `(e) => { console.log(1); ${call}.gate(e) }`, 'only be one call'],
    ['an async handler', `async (e) => { ${call}.gate(e) }`, 'only be one call'],
    ['another library', '(e) => { require("./lib.js").gate(e) }', 'only be one call'],
    ['a function that the library lacks', `(e) => { ${call}.gatte(e) }`, 'no function gatte'],
  ])('names %s', (_, handler, message) => {
    expect(checkHandlers(entry(handler), library).join()).toContain(message);
  });

  it('looks inside onServe, and notices when nothing is registered', () => {
    const served = `$app.onServe().bindFunc((e) => { const id = e.app.findCollectionByNameOrId('x').id; onModelDelete((e) => { ${call}.gate(id) }, id); e.next() })`;
    expect(checkHandlers(served, library).join()).toContain('id, which does not exist');
    expect(checkHandlers('', library).join()).toContain('no handler');
  });
});

describe('the lint rule on hook events', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const lint = (source: string) => {
    const dir = mkdtempSync(join(tmpdir(), 'pocketwarden-lint-'));
    try {
      writeFileSync(
        join(dir, 'biome.json'),
        JSON.stringify({ plugins: [join(root, 'lint/no-event-request.grit')], linter: { rules: { recommended: false } } }),
      );
      writeFileSync(join(dir, 'hook.ts'), source);
      return spawnSync(join(root, 'node_modules/.bin/biome'), ['lint', 'hook.ts'], { cwd: dir, encoding: 'utf8' });
    } finally {
      rmSync(dir, { recursive: true });
    }
  };

  it.each(['e.request', 'e.response!.header()', 'e.request!.url'])('refuses %s on a request event', (use) => {
    const result = lint(`export function gate(e: core.FileDownloadRequestEvent): void { use(${use}); }\n`);
    expect(result.status).not.toBe(0);
    expect(result.stdout + result.stderr).toContain('use requestOf(e)');
  });

  it('allows them in routes', () => {
    expect(lint('export function route(e: core.RequestEvent): void { use(e.request!.url, e.response); }\n').status).toBe(0);
  });
});
