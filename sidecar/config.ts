/** The configuration: from the environment, checked as a whole. The only file that reads it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { type RoleName, type Variable, variables } from './config-variables.ts';

type Env = Readonly<Record<string, string | undefined>>;
type Name = keyof typeof variables;
type Value<N extends Name> = (typeof variables)[N]['schema'] extends z.ZodType<infer T> ? T : never;

export interface VariableInfo {
  readonly name: string;
  /** The roles that read it; null: every process. */
  readonly roles: readonly RoleName[] | null;
  readonly default: string | null;
  readonly required: boolean;
  readonly secret: boolean;
  readonly description: string;
}

/** Every variable, for the documentation. */
export const variableTable: readonly VariableInfo[] = Object.entries<Variable>(variables).map(([name, each]) => ({
  name,
  roles: each.roles ?? null,
  default: each.default,
  required: each.required ?? false,
  secret: each.secret ?? false,
  description: each.description,
}));

/** All that is wrong, one sentence each, with the name of the variable and an example. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `The configuration has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${problems.map((each) => `- ${each}`).join('\n')}`,
    );
    this.problems = problems;
  }
}

export type Config = ReturnType<typeof loadConfig>;
export type PocketBaseConfig = NonNullable<Config['pocketbase']>;
export type ScannerConfig = NonNullable<Config['scanner']>;
export type AccessConfig = Config['access'];
export type ConsoleConfig = NonNullable<Config['console']>;
export type TrivyDbConfig = NonNullable<Config['trivyDb']>;

/** Throws a ConfigError with all problems at once. An empty variable is an unset one; what no role here reads is not looked at. */
export function loadConfig(env: Env) {
  const problems: string[] = [];
  const roles = (readVariable('ROLES', env, problems, true) ?? ['scanner']) as readonly RoleName[];
  const isRead = (name: Name) => roles.some((role) => (variables[name] as Variable).roles?.includes(role) ?? true);
  const read = <N extends Name>(name: N): Value<N> => readVariable(name, env, problems, isRead(name)) as Value<N>;
  const readOr = <N extends Name>(name: N): Value<N> | null =>
    (readVariable(name, env, problems, isRead(name)) as Value<N> | undefined) ?? null;
  const has = (...wanted: RoleName[]) => wanted.some((role) => roles.includes(role));
  const config = {
    roles,
    pocketbase: has('scanner', 'console') ? pocketbaseConfig(read, readOr, has('console'), problems) : null,
    scanner: has('scanner') ? scannerConfig(read, readOr) : null,
    access: accessConfig(read, readOr),
    console: has('console') ? consoleConfig(read, readOr) : null,
    trivyDb: has('trivy-db') ? trivyDbConfig(read, readOr) : null,
    http: { host: read('HOST'), port: read('PORT'), metricsToken: readOr('METRICS_TOKEN') },
    logLevel: read('LOG_LEVEL'),
  };
  problems.push(...missingPartners(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

type Read = <N extends Name>(name: N) => Value<N>;
type ReadOr = <N extends Name>(name: N) => Value<N> | null;

function pocketbaseConfig(read: Read, readOr: ReadOr, hasConsole: boolean, problems: string[]) {
  const login = (by: 'SUPERUSER' | 'AGENT', user: string | null) => {
    const names = [`POCKETBASE_${by}_EMAIL`, `POCKETBASE_${by}_PASSWORD`] as const;
    const [email, password] = [readOr(names[0]), readOr(names[1])];
    if (email !== null && password !== null) return { email, password };
    const missing = names.filter((_, half) => [email, password][half] === null);
    const needs = missing.length === 1 ? names.find((name) => !missing.includes(name)) : user;
    if (needs) problems.push(...missing.map((name) => needed(name, needs)));
    return null;
  };
  const agent = login('AGENT', null);
  const user = hasConsole ? 'the console' : 'a scanner without POCKETBASE_AGENT_EMAIL';
  return { url: read('POCKETBASE_URL'), agent, superuser: login('SUPERUSER', hasConsole || agent === null ? user : null) };
}

function needed(name: Name, by: string): string {
  return `${name} is not set, and ${by} needs it. Example: ${exampleOf(name, variables[name])}`;
}

function scannerConfig(read: Read, readOr: ReadOr) {
  return {
    engines: {
      addresses: read('CLAMD_ADDRESSES'),
      stallSeconds: read('SCAN_STALL_SECONDS'),
      timeoutSeconds: read('SCAN_TIMEOUT_SECONDS'),
      maxSignatureAgeHours: read('MAX_SIGNATURE_AGE_HOURS'),
      allowTestSignatures: read('ALLOW_TEST_SIGNATURES'),
    },
    concurrency: read('SCAN_CONCURRENCY'),
    maxRetries: read('MAX_RETRIES'),
    leaseSeconds: read('LEASE_SECONDS'),
    pollSeconds: read('POLL_SECONDS'),
    notifySecret: readOr('AV_NOTIFY_SECRET'),
  };
}

/** Who may operate this process. */
function accessConfig(read: Read, readOr: ReadOr) {
  return {
    operatorToken: readOr('OPERATOR_TOKEN'),
    sessionSecret: readOr('SESSION_SECRET'),
    idleMs: read('SESSION_IDLE_MINUTES') * 60_000,
    maxMs: read('SESSION_MAX_HOURS') * 3_600_000,
    forwardAuth: { addresses: readOr('FORWARD_AUTH_ADDRESSES') ?? [], secret: readOr('FORWARD_AUTH_SECRET') },
    trustedProxies: readOr('TRUSTED_PROXIES') ?? [],
    publicUrl: readOr('PUBLIC_URL'),
  };
}

function consoleConfig(read: Read, readOr: ReadOr) {
  return {
    dataDir: read('CONSOLE_DATA_DIR'),
    scannerUrl: readOr('SCANNER_URL'),
    trivyDbUrl: readOr('TRIVY_DB_URL'),
    trivyDbPublicUrl: readOr('TRIVY_DB_PUBLIC_URL'),
    pocketbasePublicUrl: readOr('POCKETBASE_PUBLIC_URL'),
    gateProbeBuild: read('GATE_PROBE_BUILD'),
    webhooks: {
      urls: readOr('RESULT_WEBHOOK_URLS') ?? [],
      secret: readOr('RESULT_WEBHOOK_SECRET'),
      privateHosts: readOr('RESULT_WEBHOOK_PRIVATE_HOSTS') ?? [],
    },
    maxSignatureAgeHours: read('MAX_SIGNATURE_AGE_HOURS'),
  };
}

function trivyDbConfig(read: Read, readOr: ReadOr) {
  const outputDir = read('TRIVY_DB_OUTPUT_DIR');
  return {
    cacheDir: read('TRIVY_DB_CACHE_DIR'),
    outputDir,
    lockFile: readOr('TRIVY_DB_LOCK_FILE') ?? join(outputDir ?? '', 'build.lock'),
    sources: readOr('TRIVY_DB_SOURCES') ?? [],
    fetch: {
      by: read('TRIVY_DB_FETCH'),
      command: readOr('TRIVY_DB_FETCH_COMMAND'),
      git: readOr('TRIVY_DB_GIT_SOURCES'),
    },
    updateIntervalMs: read('TRIVY_DB_UPDATE_INTERVAL'),
    schedule: readOr('TRIVY_DB_SCHEDULE'),
    jitterMs: read('TRIVY_DB_JITTER_MINUTES') * 60_000,
    timeoutMs: read('TRIVY_DB_TIMEOUT_MINUTES') * 60_000,
    keepBuilds: read('TRIVY_DB_KEEP_BUILDS'),
    keepLogs: read('TRIVY_DB_KEEP_LOGS'),
    minFreeBytes: read('TRIVY_DB_MIN_FREE_MIB') * 1024 * 1024,
    minRowsPercent: read('TRIVY_DB_MIN_ROWS_PERCENT'),
    registry: { username: readOr('TRIVY_DB_REGISTRY_USERNAME'), password: readOr('TRIVY_DB_REGISTRY_PASSWORD') },
    bin: { trivyDb: readOr('TRIVY_DB_BIN'), bbolt: readOr('BBOLT_BIN'), trivy: readOr('TRIVY_BIN') },
    canary: read('TRIVY_DB_CANARY'),
  };
}

interface Sections {
  readonly access: ReturnType<typeof accessConfig>;
  readonly console: ReturnType<typeof consoleConfig> | null;
  readonly trivyDb: ReturnType<typeof trivyDbConfig> | null;
}

/** Variables that mean nothing, or something dangerous, without another. */
function missingPartners({ access, console, trivyDb }: Sections): string[] {
  const problems: string[] = [];
  const need = (wanted: boolean, name: Name, without: string) => {
    if (wanted) problems.push(needed(name, without));
  };
  need(access.forwardAuth.addresses.length > 0 && access.forwardAuth.secret === null, 'FORWARD_AUTH_SECRET', 'FORWARD_AUTH_ADDRESSES');
  need((console?.webhooks.urls.length ?? 0) > 0 && console?.webhooks.secret === null, 'RESULT_WEBHOOK_SECRET', 'RESULT_WEBHOOK_URLS');
  const remote = console?.scannerUrl ?? console?.trivyDbUrl ?? null;
  need(remote !== null && access.operatorToken === null, 'OPERATOR_TOKEN', 'SCANNER_URL or TRIVY_DB_URL');
  need(trivyDb?.fetch.by === 'command' && trivyDb.fetch.command === null, 'TRIVY_DB_FETCH_COMMAND', 'TRIVY_DB_FETCH=command');
  const registry = trivyDb?.registry;
  need((registry?.username ?? null) !== null && registry?.password === null, 'TRIVY_DB_REGISTRY_PASSWORD', 'TRIVY_DB_REGISTRY_USERNAME');
  need((registry?.password ?? null) !== null && registry?.username === null, 'TRIVY_DB_REGISTRY_USERNAME', 'TRIVY_DB_REGISTRY_PASSWORD');
  return problems;
}

/** The value, or undefined where there is none or it is wrong; a variable that no role reads has its default. */
function readVariable(name: Name, env: Env, problems: string[], isRead: boolean): unknown {
  const variable: Variable = variables[name];
  if (!isRead) return variable.default === null ? undefined : variable.schema.parse(variable.default);
  const text = textOf(name, variable, env, problems);
  if (text === null) return undefined;
  const parsed = variable.schema.safeParse(text);
  if (parsed.success) return parsed.data;
  // A password may stand before the @ of a URL, also of one that is written wrongly.
  const shown = variable.secret || /[:/].*@/s.test(text) ? '' : ` (it is ${JSON.stringify(text)})`;
  problems.push(`${name} ${sentences(parsed.error)}${shown}. Example: ${exampleOf(name, variable)}`);
  return undefined;
}

function textOf(name: Name, variable: Variable, env: Env, problems: string[]): string | null {
  const direct = env[name] || null;
  const file = (variable.secret && env[`${name}_FILE`]) || null;
  if (direct !== null && file !== null) problems.push(`${name} and ${name}_FILE are both set: remove one of them.`);
  if (file === null) {
    if (direct === null && variable.required) problems.push(`${name} is not set. Example: ${exampleOf(name, variable)}`);
    return direct ?? variable.default;
  }
  try {
    // Editors and `echo` end a file with a line break that is not part of the secret.
    const text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    if (text !== '') return text;
    problems.push(`${name}_FILE names ${file}, which is empty.`);
  } catch (thrown) {
    problems.push(`${name}_FILE names ${file}, which cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  return null;
}

function sentences(error: z.ZodError): string {
  return [...new Set(error.issues.map((issue) => issue.message))].join('; ');
}

function exampleOf(name: Name, variable: Variable): string {
  return variable.example.includes('=') ? variable.example : `${name}=${variable.example}`;
}
