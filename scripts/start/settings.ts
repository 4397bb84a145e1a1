import { resolve } from 'node:path';

export interface StartSettings {
  readonly dataFolder: string;
  /** Address PocketBase and the sidecar listen on; clamd never listens on anything but 127.0.0.1. */
  readonly host: string;
  readonly ports: { readonly pocketbase: number; readonly clamd: number; readonly sidecar: number };
  readonly email: string;
  /** Null: the one kept in the data folder, generated when there is none. */
  readonly password: string | null;
}

export const HELP = `npm start: runs PocketBase, clamd and the sidecar until Ctrl-C.

  PB_PORT                        port of PocketBase (8090)
  CLAMD_PORT                     port of clamd, on 127.0.0.1 only (3310)
  PORT                           port of the sidecar (8080)
  HOST                           address PocketBase and the sidecar listen on (127.0.0.1; 0.0.0.0 for all)
  DATA_DIR                       folder for data and secrets (.data)
  POCKETBASE_SUPERUSER_EMAIL     superuser that is created when missing (admin@example.com)
  POCKETBASE_SUPERUSER_PASSWORD  its password, at least 8 characters (else generated and kept in the data folder)
  ROLES                          what the sidecar does (scanner,console,trivy-db)
  POCKETBASE_BIN, CLAMD_BIN      programs to use instead of obtaining them
  XDG_CACHE_HOME                 where obtained programs are kept, below pocketwarden/ (~/.cache)
  NO_COLOR                       plain output

Everything else in the environment reaches PocketBase and the sidecar: AV_GATE, SCAN_CONCURRENCY and so on.`;

/** Reads the environment; throws with all problems at once, each naming its variable. */
export function readSettings(env: NodeJS.ProcessEnv): StartSettings {
  const problems: string[] = [];
  const port = (name: string, fallback: number): number => {
    const text = env[name] ?? '';
    if (text === '') return fallback;
    if (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535) return Number(text);
    problems.push(`${name}=${text} is not a port: use a number from 1 to 65535.`);
    return fallback;
  };
  const ports = { pocketbase: port('PB_PORT', 8090), clamd: port('CLAMD_PORT', 3310), sidecar: port('PORT', 8080) };
  if (new Set(Object.values(ports)).size < 3) problems.push('PB_PORT, CLAMD_PORT and PORT must be three different ports.');
  const password = env.POCKETBASE_SUPERUSER_PASSWORD || null;
  if (password !== null && password.length < 8)
    problems.push('POCKETBASE_SUPERUSER_PASSWORD is too short: PocketBase asks for 8 characters.');
  const email = env.POCKETBASE_SUPERUSER_EMAIL || 'admin@example.com';
  if (!/^[^@\s]+@[^@\s]+$/.test(email)) problems.push(`POCKETBASE_SUPERUSER_EMAIL=${email} is not an e-mail address.`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return { dataFolder: resolve(env.DATA_DIR || '.data'), host: env.HOST || '127.0.0.1', ports, email, password };
}
