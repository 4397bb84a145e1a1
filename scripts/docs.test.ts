/** README.md and docs/ say what the code says. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { reasons } from '../pb_hooks/lib/reasons.ts';
import { variableTable } from '../sidecar/config.ts';
import { sidecarFlags } from './sidecar-flags.ts';
import { HELP } from './start/settings.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];

/** The text from one heading to the next of its own level or above. */
function section(page: string, heading: string): string {
  const level = heading.slice(0, heading.indexOf(' ') + 1);
  const [, rest = ''] = read(page).split(`\n${heading}\n`);
  const lines = rest.split('\n');
  const end = lines.findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') < level.length);
  return lines.slice(0, end < 0 ? undefined : end).join('\n');
}

/** Rows of the first table, without its head. */
function rows(text: string): string[] {
  const table = text.split('\n').slice(text.split('\n').findIndex((line) => line.startsWith('| ---')) + 1);
  return table.slice(0, table.findIndex((line) => !line.startsWith('|')) >>> 0);
}

function variableRow({ name, default: preset, required, secret, description }: (typeof variableTable)[number]): string {
  const kind = secret ? (required ? 'Secret, required. ' : 'Secret. ') : required ? 'Required. ' : '';
  return `| \`${name}\` | ${preset === null ? '–' : `\`${preset}\``} | ${kind}${description} |`;
}

const firstCells = (text: string) =>
  rows(text).flatMap((row) => [...(row.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));

describe('README.md', () => {
  it('runs the sidecar with the flags that everything else has, and so does the Dockerfile', () => {
    expect(read('README.md')).toContain(`node ${sidecarFlags.join(' ')} pocketwarden/build/sidecar/main.js`);
    expect(read('Dockerfile')).toContain(sidecarFlags.map((flag) => `"${flag}"`).join(', '));
  });

  it.each([
    ['### Sidecar', (roles: readonly string[] | null) => roles === null || roles.includes('scanner')],
    ['### Console', (roles: readonly string[] | null) => roles !== null && !roles.includes('scanner') && roles.includes('console')],
    ['### Trivy DB', (roles: readonly string[] | null) => roles?.join() === 'trivy-db'],
  ])('has the variables below "%s" as the configuration has them', (heading, belongs) => {
    const expected = variableTable.filter(({ roles }) => belongs(roles)).map(variableRow);
    expect(rows(section('README.md', heading))).toEqual(expected);
  });

  it('has exactly the variables that the hooks and migrations read', () => {
    const sources = ['pb_hooks/lib', 'pb_migrations'].flatMap((folder) =>
      readdirSync(join(root, folder))
        .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
        .map((name) => read(`${folder}/${name}`)),
    );
    const used = sources.flatMap((source) => [...source.matchAll(/\b(?:getenv|secret|flag)\('(\w+)'\)/g)].map(([, name = '']) => name));
    expect(firstCells(section('README.md', '### PocketBase (hooks and migrations)')).sort()).toEqual([...new Set(used)].sort());
  });

  it('has the variables of npm start as its help has them', () => {
    const helped = [...HELP.matchAll(/^ {2}([A-Z][A-Z_, ]+?) {2}/gm)].flatMap(([, names = '']) => names.split(', '));
    expect(helped.length).toBeGreaterThan(5);
    expect(firstCells(section('README.md', '### npm start')).sort()).toEqual(helped.sort());
  });

  it('has exactly the variables that compose.yaml reads, with their defaults', () => {
    const read_ = new Map([...read('compose.yaml').matchAll(/\$\{(\w+):?-([^}]*)\}/g)].map(([, name = '', preset = '']) => [name, preset]));
    const text = section('README.md', '### compose.yaml');
    const [passedOn = ''] = /^`[\s\S]*?are passed on\./m.exec(text) ?? [];
    const named = [...passedOn.matchAll(/`(\w+)`/g)].map(([, name = '']) => name);
    expect([...firstCells(text), ...named].sort()).toEqual([...read_.keys()].sort());
    for (const row of rows(text)) {
      const [, name = '', preset] = /^\| `(\w+)` \| `([^`]*)` \|/.exec(row) ?? [];
      expect(read_.get(name), name).toBe(preset);
    }
  });
});

describe('docs/operations.md', () => {
  it('has every reason with what it means and what to do', () => {
    const expected = Object.entries(reasons).map(([reason, [meaning, action]]) => `| \`${reason}\` | ${meaning} | ${action} |`);
    expect(rows(section('docs/operations.md', '## Reasons'))).toEqual(expected);
  });
});

describe('docs/threat-model.md', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version: string; license?: string; dev?: true }>;
  };
  const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== '' && !dev);

  it('lists every package that runs in production, with its licence', () => {
    const expected = shipped.map(
      ([path, { version, license }]) => `| \`${path.replace(/^.*node_modules\//, '')}\` | ${version} | ${license ?? 'none'} |`,
    );
    expect(rows(section('docs/threat-model.md', '## Dependencies and licences'))).toEqual(expected);
  });

  it('lists none that asks for more than to be named', () => {
    for (const [path, { license }] of shipped) expect(['MIT', 'ISC', '0BSD', 'Apache-2.0', 'BSD-3-Clause'], path).toContain(license);
  });
});

describe('every page', () => {
  it.each(pages)('%s links to what is there', (page) => {
    for (const [, path = '', anchor] of read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const target = path === '' ? page : join(dirname(page), path);
      expect(existsSync(join(root, target)), target).toBe(true);
      const headings = [...read(target).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^\w -]/g, '')
          .replaceAll(' ', '-'),
      );
      if (anchor !== undefined) expect(headings, target).toContain(anchor);
    }
  });

  it.each(pages)('%s names only commands that there are', (page) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const [, name = ''] of read(page).matchAll(/npm run\s([\w:-]+)/g)) expect(scripts, name).toHaveProperty([name]);
    for (const [, path = ''] of read(page).matchAll(/(?:^|[ /`])(deploy\/[\w./-]+\.\w+)/gm))
      expect(existsSync(join(root, path)), path).toBe(true);
  });
});
