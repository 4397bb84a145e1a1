import { relative } from 'node:path';
import type { GroupPlan } from './group.ts';
import { urlOf } from './group.ts';
import { paint } from './log.ts';

/** The one summary, printed when everything is ready. */
export function summary({ settings, folder, pocketbase, clamd, signatures }: GroupPlan, seconds: number): string {
  const { ports } = settings;
  const rows: [string, string][] = [
    [
      'PocketBase',
      `${urlOf(settings, ports.pocketbase)}  (dashboard ${urlOf(settings, ports.pocketbase)}/_/, version ${pocketbase.version})`,
    ],
    ['console', `${urlOf(settings, ports.sidecar)}  (log in as the superuser; also /readyz, /metrics, /v2/ for Trivy)`],
    ['clamd', `127.0.0.1:${ports.clamd}  (version ${clamd.version})`],
    ['superuser', settings.email],
    ['password', settings.password === null ? `in ${fromHere(folder.passwordFile)}` : 'as given in POCKETBASE_SUPERUSER_PASSWORD'],
    ['signatures', signatures.kind === 'test' ? paint('red', signatures.description) : signatures.description],
    ['data', fromHere(folder.path)],
  ];
  const warning =
    signatures.kind === 'test'
      ? [paint('red', '  These signatures protect nobody: freshclam could not fetch the official ones. For trials only.'), '']
      : [];
  return [
    '',
    paint('green', `Pocketwarden is ready after ${seconds.toFixed(1)} s.`),
    '',
    ...rows.map(([name, value]) => `  ${name.padEnd(11)} ${value}`),
    '',
    ...warning,
    '  Try it: npm run demo (in another terminal). Ctrl-C stops everything.',
    '',
    '',
  ].join('\n');
}

function fromHere(path: string): string {
  const short = relative(process.cwd(), path);
  return short !== '' && !short.startsWith('..') ? short : path;
}
