/** Every variable of the sidecar once, with its bounds, its default and what it is for. */
import { CronPattern } from 'croner';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { splitAddress } from './clamd/addresses.ts';

export const roleNames = ['scanner', 'console', 'trivy-db'] as const;
export type RoleName = (typeof roleNames)[number];

export interface Variable<T = unknown> {
  /** The roles that read it; every process reads it where this is missing. */
  readonly roles?: readonly RoleName[];
  /** From the text of the variable. */
  readonly schema: z.ZodType<T, string>;
  /** As text; null where there is none. */
  readonly default: string | null;
  /** In a process that has one of its roles. */
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

const laterRoles = ['fleet'];
const roles = z
  .string()
  .transform((text) => [...new Set(text.split(',').map((part) => part.trim()))])
  .superRefine((names, context) => {
    for (const name of names) {
      if (isRole(name)) continue;
      const message = laterRoles.includes(name)
        ? `the role ${name} is not part of this version`
        : `there is no role ${JSON.stringify(name)}`;
      context.addIssue({ code: 'custom', message });
    }
  })
  .transform((names) => names.filter(isRole));

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== ''),
);
const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });
const networks = list.refine(
  (all) => all.every((each) => ipaddr.isValid(each) || ipaddr.isValidCIDR(each)),
  'must be addresses or networks, separated by commas',
);
const httpUrls = list.refine(
  (all) => all.every((each) => httpUrl.safeParse(each).success),
  'must be http or https URLs, separated by commas',
);
/** As Go writes durations, in whole hours or minutes. To milliseconds. */
const interval = z
  .string()
  .regex(/^[1-9]\d{0,3}[hm]$/, 'must be a number of hours or minutes, like 24h or 90m')
  .transform((text) => Number.parseInt(text, 10) * (text.endsWith('h') ? 3_600_000 : 60_000));
const schedule = z.string().refine(isCron, 'must be a cron expression of five fields, in UTC');
/** Of a program and its arguments, without a shell. */
const command = z
  .string()
  .transform((text) => text.trim().split(/\s+/))
  .refine((words) => words[0]?.startsWith('/') ?? false, 'must begin with the absolute path of a program');
const gitSources = list
  .refine(
    (all) => all.every((each) => /^[\w-][\w.-]*=[^\s,#]+#[\w./-]+$/.test(each) && !each.includes('..')),
    'must be folder=url#branch, several separated by commas, where folder is a name and not a path',
  )
  .refine((all) => new Set(all.map((each) => each.split('=')[0])).size === all.length, 'must name each folder once')
  .transform((all) =>
    all.map((each) => /^([^=]+)=([^#]+)#(.+)$/.exec(each)!).map(([, folder = '', url = '', branch = '']) => ({ folder, url, branch })),
  );
/** Trivy takes TRIVY_USERNAME and TRIVY_PASSWORD as lists, so that neither may hold what separates them. */
const trivyWord = z.string().regex(/^[^\s,]+$/, 'must have no white space and no comma');
const canary = z
  .string()
  .regex(/^alpine [\d.]+ [\w.+-]+ [\w.+-]+ CVE-\d{4}-\d{4,}$/, 'must be: alpine RELEASE PACKAGE VERSION CVE')
  .transform((text) => text.split(' '))
  .transform(([, release = '', packageName = '', version = '', cve = '']) => ({ release, packageName, version, cve }));

export const variables = {
  POCKETBASE_URL: {
    roles: ['scanner', 'console'],
    schema: httpUrl,
    default: null,
    required: true,
    description: 'Where PocketBase answers.',
    example: 'http://127.0.0.1:8090',
  },
  POCKETBASE_SUPERUSER_EMAIL: {
    roles: ['scanner', 'console'],
    schema: z.email('must be an e-mail address'),
    default: null,
    description: 'The superuser that the sidecar logs in as. The console needs it; a scanner only where it has no agent.',
    example: 'warden@example.com',
  },
  POCKETBASE_SUPERUSER_PASSWORD: {
    roles: ['scanner', 'console'],
    schema: z.string(),
    default: null,
    secret: true,
    description: 'The password of that superuser.',
    example: 'POCKETBASE_SUPERUSER_PASSWORD_FILE=/run/secrets/superuser_password',
  },
  POCKETBASE_AGENT_EMAIL: {
    roles: ['scanner'],
    schema: z.email('must be an e-mail address'),
    default: null,
    description: 'The agent of `av_agents` that a scanner logs in as, recommended: it can do nothing but scan.',
    example: 'scanner@example.com',
  },
  POCKETBASE_AGENT_PASSWORD: {
    roles: ['scanner'],
    schema: z.string(),
    default: null,
    secret: true,
    description: 'The password of that agent.',
    example: 'POCKETBASE_AGENT_PASSWORD_FILE=/run/secrets/agent_password',
  },
  ROLES: {
    schema: roles,
    default: 'scanner',
    description: 'What this process does, separated by commas: `scanner`, `console`, `trivy-db`.',
    example: 'scanner',
  },
  CLAMD_ADDRESSES: {
    roles: ['scanner'],
    schema: addresses,
    default: '127.0.0.1:3310',
    description: 'The clamd daemons, separated by commas. A name with several addresses is several engines.',
    example: '127.0.0.1:3310,clamd.internal:3310',
  },
  SCAN_CONCURRENCY: {
    roles: ['scanner'],
    schema: whole(1, 64),
    default: '4',
    description: 'Files streamed at once, over all engines.',
    example: '4',
  },
  SCAN_STALL_SECONDS: {
    roles: ['scanner'],
    schema: whole(1, 600),
    default: '30',
    description: 'A scan fails when nothing moves for this long while its file is being sent.',
    example: '30',
  },
  SCAN_TIMEOUT_SECONDS: {
    roles: ['scanner'],
    schema: whole(1, 3600),
    default: '330',
    description: "From the last byte to the reply, plus a second per 8 MiB. Keep it above clamd's MaxScanTime.",
    example: '330',
  },
  MAX_RETRIES: {
    roles: ['scanner'],
    schema: whole(1, 100),
    default: '3',
    description: 'Counted failures of a check before it ends as `error`.',
    example: '3',
  },
  LEASE_SECONDS: {
    roles: ['scanner'],
    schema: whole(5, 3600),
    default: '60',
    description: 'How long a check stays with this process when it dies. Renewed at a third of it.',
    example: '60',
  },
  POLL_SECONDS: {
    roles: ['scanner'],
    schema: whole(1, 300),
    default: '5',
    description: 'How often to ask for work that no notification told of.',
    example: '5',
  },
  MAX_SIGNATURE_AGE_HOURS: {
    roles: ['scanner', 'console'],
    schema: whole(1, 8760),
    default: '168',
    description: 'An engine with older signatures is not ready, and checks wait.',
    example: '168',
  },
  ALLOW_TEST_SIGNATURES: {
    roles: ['scanner'],
    schema: yesNo,
    default: 'false',
    description: 'Accept an engine without official signatures. For trials only: it finds nothing but the test file.',
    example: 'false',
  },
  AV_NOTIFY_SECRET: {
    roles: ['scanner'],
    schema: longSecret,
    default: null,
    secret: true,
    description: 'Shared with the hooks, which sign their notifications with it. Without it new uploads wait for the next poll.',
    example: 'AV_NOTIFY_SECRET_FILE=/run/secrets/av_notify_secret',
  },
  OPERATOR_TOKEN: {
    roles: ['scanner', 'console', 'trivy-db'],
    schema: longSecret,
    default: null,
    secret: true,
    description: 'Lets whoever has it log in, read checks and operate the Trivy DB; the roles of several processes know each other by it.',
    example: 'OPERATOR_TOKEN_FILE=/run/secrets/operator_token',
  },
  SESSION_SECRET: {
    roles: ['console', 'trivy-db'],
    schema: z.string().min(32, 'must have at least 32 characters'),
    default: null,
    secret: true,
    description: 'Seals the sessions of logged-in operators. The same for all replicas; without it a restart logs everybody out.',
    example: 'SESSION_SECRET_FILE=/run/secrets/session_secret',
  },
  SESSION_IDLE_MINUTES: {
    roles: ['console', 'trivy-db'],
    schema: whole(1, 10_080),
    default: '60',
    description: 'A session ends after so long without a request.',
    example: '60',
  },
  SESSION_MAX_HOURS: {
    roles: ['console', 'trivy-db'],
    schema: whole(1, 720),
    default: '12',
    description: 'A session ends after so long in any case.',
    example: '12',
  },
  FORWARD_AUTH_ADDRESSES: {
    roles: ['console', 'trivy-db'],
    schema: networks,
    default: null,
    description: 'Addresses or networks of the reverse proxy whose `X-Auth-Request-User` is believed. Needs FORWARD_AUTH_SECRET.',
    example: '10.0.0.2,172.18.0.0/16',
  },
  FORWARD_AUTH_SECRET: {
    roles: ['console', 'trivy-db'],
    schema: longSecret,
    default: null,
    secret: true,
    description: 'What that proxy sends as `X-Forward-Auth-Secret`.',
    example: 'FORWARD_AUTH_SECRET_FILE=/run/secrets/forward_auth_secret',
  },
  TRUSTED_PROXIES: {
    roles: ['console', 'trivy-db'],
    schema: networks,
    default: null,
    description:
      'Addresses or networks of reverse proxies. The last entry of their `X-Forwarded-For` is who limits of logins count and the log names; it lets nobody in.',
    example: '10.0.0.2,172.18.0.0/16',
  },
  PUBLIC_URL: {
    roles: ['console', 'trivy-db'],
    schema: httpUrl,
    default: null,
    description: 'Where operators and Trivy reach this process, if through a proxy.',
    example: 'https://pocketwarden.example.com',
  },
  SCANNER_URL: {
    roles: ['console'],
    schema: httpUrl,
    default: null,
    description: 'Where the scanner role answers, if it is another process. Needs OPERATOR_TOKEN.',
    example: 'http://scanner:8080',
  },
  TRIVY_DB_URL: {
    roles: ['console'],
    schema: httpUrl,
    default: null,
    description: 'Where the trivy-db role answers, if it is another process. Needs OPERATOR_TOKEN.',
    example: 'http://trivy-db:8080',
  },
  TRIVY_DB_PUBLIC_URL: {
    roles: ['console'],
    schema: httpUrl,
    default: null,
    description: 'Where Trivy reaches the registry, if not at the address of the console.',
    example: 'https://trivy-db.example.com',
  },
  POCKETBASE_PUBLIC_URL: {
    roles: ['console'],
    schema: httpUrl,
    default: null,
    description: 'Where browsers reach PocketBase, for links to it, if not at POCKETBASE_URL.',
    example: 'https://pb.example.com',
  },
  CONSOLE_DATA_DIR: {
    roles: ['console'],
    schema: z.string(),
    default: './console',
    description: 'Where the console keeps the last history entry it has seen, outside PocketBase.',
    example: '/var/lib/pocketwarden/console',
  },
  RESULT_WEBHOOK_URLS: {
    roles: ['console'],
    schema: httpUrls,
    default: null,
    secret: true,
    description: 'Who is told of verdicts, releases and engine faults.',
    example: 'https://ci.example.com/hooks/pocketwarden',
  },
  RESULT_WEBHOOK_SECRET: {
    roles: ['console'],
    schema: longSecret,
    default: null,
    secret: true,
    description: 'Signs the webhooks. Needed with RESULT_WEBHOOK_URLS.',
    example: 'RESULT_WEBHOOK_SECRET_FILE=/run/secrets/result_webhook_secret',
  },
  RESULT_WEBHOOK_PRIVATE_HOSTS: {
    roles: ['console'],
    schema: list,
    default: null,
    description: 'Host names or addresses of webhooks that may be private addresses; all others must be public.',
    example: 'ci.internal,10.0.0.7',
  },
  GATE_PROBE_BUILD: {
    roles: ['console'],
    schema: z.enum(['auto', 'true', 'false'], 'must be auto, true or false'),
    default: 'auto',
    description:
      'Whether the console makes a build that never opens, to try the gate with. `auto`: only in an `app_builds` that we have made. See docs/locks.md.',
    example: 'true',
  },
  TRIVY_DB_CACHE_DIR: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: './trivy-db/cache',
    description: 'The vulnerability lists that the database is built from.',
    example: '/var/lib/pocketwarden/trivy-db/cache',
  },
  TRIVY_DB_OUTPUT_DIR: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: './trivy-db/output',
    description: 'Builds, their logs, and what is published.',
    example: '/var/lib/pocketwarden/trivy-db/output',
  },
  TRIVY_DB_LOCK_FILE: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: null,
    description: 'The lock of the builder. By default `build.lock` in TRIVY_DB_OUTPUT_DIR.',
    example: '/tmp/build-db-vm.lock',
  },
  TRIVY_DB_SOURCES: {
    roles: ['trivy-db'],
    schema: list.refine((all) => all.every((each) => /^[\w-]{1,64}$/.test(each)), 'must be names of sources, separated by commas'),
    default: null,
    description: 'Only these sources, as `--only-update` of trivy-db takes them. All of them by default.',
    example: 'nvd,alpine,debian',
  },
  TRIVY_DB_FETCH: {
    roles: ['trivy-db'],
    schema: z.enum(['git', 'command', 'none'], 'must be git, command or none'),
    default: 'git',
    description: 'How the lists come: `git`; `command`; or `none`, when somebody else fills TRIVY_DB_CACHE_DIR.',
    example: 'none',
  },
  TRIVY_DB_FETCH_COMMAND: {
    roles: ['trivy-db'],
    schema: command,
    default: null,
    description: 'A program and its arguments, run without a shell in TRIVY_DB_CACHE_DIR. Needed with TRIVY_DB_FETCH=command.',
    example: '/usr/local/bin/fetch-lists --mirror git.internal',
  },
  TRIVY_DB_GIT_SOURCES: {
    roles: ['trivy-db'],
    schema: gitSources,
    default: null,
    description: 'Mirrors of the lists: folder in the cache, URL and branch. Folders that are not named are fetched from upstream.',
    example: 'vuln-list=https://git.internal/vuln-list#main',
  },
  TRIVY_DB_UPDATE_INTERVAL: {
    roles: ['trivy-db'],
    schema: interval,
    default: '24h',
    description: 'How long clients consider a build new: `nextUpdate` of its metadata.',
    example: '24h',
  },
  TRIVY_DB_SCHEDULE: {
    roles: ['trivy-db'],
    schema: schedule,
    default: null,
    description: 'When to build, as a cron expression in UTC. Never by itself without one.',
    example: '0 3 * * *',
  },
  TRIVY_DB_JITTER_MINUTES: {
    roles: ['trivy-db'],
    schema: whole(0, 720),
    default: '10',
    description: 'A scheduled build begins up to so much later, by chance.',
    example: '10',
  },
  TRIVY_DB_TIMEOUT_MINUTES: {
    roles: ['trivy-db'],
    schema: whole(1, 2880),
    default: '360',
    description: 'A build that takes longer is stopped.',
    example: '360',
  },
  TRIVY_DB_KEEP_BUILDS: {
    roles: ['trivy-db'],
    schema: whole(1, 100),
    default: '3',
    description: 'Good builds that are kept to roll back to, with the published one.',
    example: '3',
  },
  TRIVY_DB_KEEP_LOGS: {
    roles: ['trivy-db'],
    schema: whole(1, 10_000),
    default: '100',
    description: 'Builds whose log and record are kept.',
    example: '100',
  },
  TRIVY_DB_MIN_FREE_MIB: {
    roles: ['trivy-db'],
    schema: whole(0, 100_000_000),
    default: '10240',
    description: 'No build begins or goes on with less free disk space than this.',
    example: '10240',
  },
  TRIVY_DB_MIN_ROWS_PERCENT: {
    roles: ['trivy-db'],
    schema: whole(0, 100),
    default: '80',
    description: 'A build with fewer rows than this share of the published one is not published.',
    example: '80',
  },
  TRIVY_DB_REGISTRY_USERNAME: {
    roles: ['trivy-db'],
    schema: trivyWord,
    default: null,
    description:
      'Basic auth of the registry and of the downloads, with TRIVY_DB_REGISTRY_PASSWORD. Open to whoever reaches the port without it.',
    example: 'trivy',
  },
  TRIVY_DB_REGISTRY_PASSWORD: {
    roles: ['trivy-db'],
    schema: trivyWord.min(16, 'must have at least 16 characters'),
    default: null,
    secret: true,
    description: 'Its password.',
    example: 'TRIVY_DB_REGISTRY_PASSWORD_FILE=/run/secrets/registry_password',
  },
  TRIVY_DB_BIN: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: null,
    description: 'A trivy-db program in place of the pinned one.',
    example: '/usr/local/bin/trivy-db',
  },
  BBOLT_BIN: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: null,
    description: 'A bbolt program in place of the pinned one.',
    example: '/usr/local/bin/bbolt',
  },
  TRIVY_BIN: {
    roles: ['trivy-db'],
    schema: z.string(),
    default: null,
    description: 'A trivy program: each build must find TRIVY_DB_CANARY with it before it is published.',
    example: '/usr/local/bin/trivy',
  },
  TRIVY_DB_CANARY: {
    roles: ['trivy-db'],
    schema: canary,
    default: 'alpine 3.19 openssl 3.1.4-r0 CVE-2023-5678',
    description: 'A vulnerability that every good build knows: distribution, release, package, version, CVE.',
    example: 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001',
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
    description: 'Bearer token for /metrics, and for the details of /readyz. Without it only clients on the same machine may read metrics.',
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

function isRole(name: string): name is RoleName {
  return (roleNames as readonly string[]).includes(name);
}

function isCron(text: string): boolean {
  try {
    new CronPattern(text);
    return text.trim().split(/\s+/).length === 5;
  } catch {
    return false;
  }
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
