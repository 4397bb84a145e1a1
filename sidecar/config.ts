/** The configuration: every variable once, with its default, its bounds and what it is for. The only file that reads the environment. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { splitAddress } from './clamd/addresses.ts';

type Env = Readonly<Record<string, string | undefined>>;

interface Variable<T = unknown> {
  /** From the text of the variable. */
  readonly schema: z.ZodType<T, string>;
  /** As text; null where there is none. */
  readonly default: string | null;
  readonly required?: true;
  /** May also be given as NAME_FILE, the path of a file that holds it. */
  readonly secret?: true;
  readonly description: string;
  readonly example: string;
}

const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));
const yesNo = z.stringbool({ truthy: ['true', '1', 'yes'], falsy: ['false', '0', 'no'], error: 'must be true or false' });
const longSecret = z.string().min(16, 'must have at least 16 characters');

const DEFAULT_CLAMD_PORT = 3310;
const addresses = z
  .string()
  .transform((text) => text.split(',').map((part) => withPort(part.trim())))
  .refine((all) => all.every(isAddress), 'must be host:port, several separated by commas');

const laterRoles = ['console', 'trivy-db', 'fleet'];
const roles = z
  .string()
  .transform((text) => [...new Set(text.split(',').map((part) => part.trim()))])
  .superRefine((names, context) => {
    for (const name of names) {
      if (name === 'scanner') continue;
      const message = laterRoles.includes(name)
        ? `the role ${name} is not part of this version`
        : `there is no role ${JSON.stringify(name)}`;
      context.addIssue({ code: 'custom', message });
    }
  });

const variables = {
  POCKETBASE_URL: {
    schema: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }),
    default: null,
    required: true,
    description: 'Where PocketBase answers.',
    example: 'http://127.0.0.1:8090',
  },
  POCKETBASE_SUPERUSER_EMAIL: {
    schema: z.email('must be an e-mail address'),
    default: null,
    required: true,
    description: 'The superuser the sidecar logs in as.',
    example: 'scanner@example.com',
  },
  POCKETBASE_SUPERUSER_PASSWORD: {
    schema: z.string(),
    default: null,
    required: true,
    secret: true,
    description: 'The password of that superuser.',
    example: 'POCKETBASE_SUPERUSER_PASSWORD_FILE=/run/secrets/pocketbase_password',
  },
  ROLES: { schema: roles, default: 'scanner', description: 'What this process does, separated by commas.', example: 'scanner' },
  CLAMD_ADDRESSES: {
    schema: addresses,
    default: '127.0.0.1:3310',
    description: 'The clamd daemons, separated by commas. A name with several addresses is several engines.',
    example: '127.0.0.1:3310,clamd.internal:3310',
  },
  SCAN_CONCURRENCY: { schema: whole(1, 64), default: '4', description: 'Files streamed at once, over all engines.', example: '4' },
  SCAN_STALL_SECONDS: {
    schema: whole(1, 600),
    default: '30',
    description: 'A scan fails when nothing moves for this long while its file is being sent.',
    example: '30',
  },
  SCAN_TIMEOUT_SECONDS: {
    schema: whole(1, 3600),
    default: '330',
    description: "From the last byte to the reply, plus a second per 8 MiB. Keep it above clamd's MaxScanTime.",
    example: '330',
  },
  MAX_RETRIES: { schema: whole(1, 100), default: '3', description: 'Counted failures of a check before it ends as `error`.', example: '3' },
  LEASE_SECONDS: {
    schema: whole(5, 3600),
    default: '60',
    description: 'How long a check stays with this process when it dies. Renewed at a third of it.',
    example: '60',
  },
  POLL_SECONDS: {
    schema: whole(1, 300),
    default: '5',
    description: 'How often to ask for work that no notification told of.',
    example: '5',
  },
  MAX_SIGNATURE_AGE_HOURS: {
    schema: whole(1, 8760),
    default: '168',
    description: 'An engine with older signatures is not ready, and checks wait.',
    example: '168',
  },
  ALLOW_TEST_SIGNATURES: {
    schema: yesNo,
    default: 'false',
    description: 'Accept an engine without official signatures. For trials only: it finds nothing but the test file.',
    example: 'false',
  },
  AV_NOTIFY_SECRET: {
    schema: longSecret,
    default: null,
    secret: true,
    description: 'Shared with the hooks, which sign their notifications with it. Without it new uploads wait for the next poll.',
    example: 'AV_NOTIFY_SECRET_FILE=/run/secrets/av_notify_secret',
  },
  HOST: {
    schema: z.string().regex(/^[0-9a-zA-Z.:_-]+$/, 'must be an address or a host name'),
    default: '127.0.0.1',
    description: 'The address to listen on. In a container: 0.0.0.0.',
    example: '0.0.0.0',
  },
  PORT: { schema: whole(0, 65_535), default: '8080', description: 'The port to listen on.', example: '8080' },
  METRICS_TOKEN: {
    schema: longSecret,
    default: null,
    secret: true,
    description: 'Bearer token for /metrics. Without it only clients on the same machine may read them.',
    example: 'METRICS_TOKEN_FILE=/run/secrets/metrics_token',
  },
  LOG_LEVEL: {
    schema: z.enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be one of trace, debug, info, warn, error, fatal, silent',
    ),
    default: 'info',
    description: 'The least important event to log.',
    example: 'info',
  },
} as const satisfies Record<string, Variable>;

type Name = keyof typeof variables;
type Value<N extends Name> = (typeof variables)[N]['schema'] extends z.ZodType<infer T> ? T : never;

export interface VariableInfo {
  readonly name: string;
  readonly default: string | null;
  readonly required: boolean;
  readonly secret: boolean;
  readonly description: string;
}

/** Every variable, for the documentation. */
export const variableTable: readonly VariableInfo[] = Object.entries<Variable>(variables).map(([name, each]) => ({
  name,
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

/** Throws a ConfigError with all problems at once. An empty variable is an unset one. */
export function loadConfig(env: Env) {
  const problems: string[] = [];
  const read = <N extends Name>(name: N): Value<N> => readVariable(name, env, problems) as Value<N>;
  // A secret is never required to have a value; the type says so once, here.
  const readSecret = (name: Name): string | null => (readVariable(name, env, problems) as string | undefined) ?? null;
  const config = {
    roles: read('ROLES'),
    pocketbase: {
      url: read('POCKETBASE_URL'),
      email: read('POCKETBASE_SUPERUSER_EMAIL'),
      password: read('POCKETBASE_SUPERUSER_PASSWORD'),
    },
    engines: {
      addresses: read('CLAMD_ADDRESSES'),
      stallSeconds: read('SCAN_STALL_SECONDS'),
      timeoutSeconds: read('SCAN_TIMEOUT_SECONDS'),
      maxSignatureAgeHours: read('MAX_SIGNATURE_AGE_HOURS'),
      allowTestSignatures: read('ALLOW_TEST_SIGNATURES'),
    },
    worker: {
      concurrency: read('SCAN_CONCURRENCY'),
      maxRetries: read('MAX_RETRIES'),
      leaseSeconds: read('LEASE_SECONDS'),
      pollSeconds: read('POLL_SECONDS'),
    },
    http: {
      host: read('HOST'),
      port: read('PORT'),
      notifySecret: readSecret('AV_NOTIFY_SECRET'),
      metricsToken: readSecret('METRICS_TOKEN'),
    },
    logLevel: read('LOG_LEVEL'),
  };
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

function readVariable(name: Name, env: Env, problems: string[]): unknown {
  const variable: Variable = variables[name];
  const text = textOf(name, variable, env, problems);
  if (text === null) return undefined;
  const parsed = variable.schema.safeParse(text);
  if (parsed.success) return parsed.data;
  const shown = variable.secret ? '' : ` (it is ${JSON.stringify(text)})`;
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

function withPort(address: string): string {
  return /:\d+$/.test(address) && !address.endsWith(']') ? address : `${address}:${DEFAULT_CLAMD_PORT}`;
}

function isAddress(address: string): boolean {
  try {
    splitAddress(address);
    return true;
  } catch {
    return false;
  }
}
