/** The process: its arguments, environment, signals and exit code. */
import { getPriority, setPriority } from 'node:os';
import { ConfigError, loadConfig, variableTable } from './config.ts';
import { createService, type Service } from './service.ts';
import { withoutSecrets } from './shown-config.ts';
import { version } from './version.ts';

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIG = 78;
const EXIT_USAGE = 64;
/** What may still hang after everything has been given back. */
const LAST_RESORT_MS = 5000;
/** Of the kernel's scale from -20 to 19: a third of the share that PocketBase gets. */
const NICE = 5;
const endingSignals = ['SIGINT', 'SIGTERM'] as const;

async function main(args: readonly string[]): Promise<void> {
  const [option, ...others] = args;
  if (others.length > 0) return usageError(others.join(' '));
  switch (option) {
    case '--help':
      return print(help());
    case '--version':
      return print(version);
    case '--check-config':
      return print(JSON.stringify(withoutSecrets(loadConfig(process.env)), null, 2));
    case undefined:
      return await run(createService(loadConfig(process.env)));
    default:
      return usageError(option);
  }
}

/** The first SIGINT or SIGTERM lets running scans end, the second ends everything at once. */
async function run(service: Service): Promise<void> {
  standBack();
  const stopped = Promise.withResolvers<void>();
  const end = () => {
    for (const signal of endingSignals) process.off(signal, end).on(signal, () => void service.kill());
    service.stop().then(stopped.resolve, stopped.reject);
  };
  for (const signal of endingSignals) process.on(signal, end);
  try {
    await service.start();
    await stopped.promise;
  } finally {
    await service.stop();
    setTimeout(() => process.exit(), LAST_RESORT_MS).unref();
  }
}

/** Where CPU is short, PocketBase answers uploads first and verdicts follow a little later. */
function standBack(): void {
  if (getPriority() < NICE) setPriority(NICE);
}

function help(): string {
  const width = Math.max(...variableTable.map(({ name }) => name.length));
  const lines = variableTable.map((each) => {
    const origin = each.required ? 'required' : each.default === null ? 'unset' : `default ${each.default}`;
    return `  ${each.name.padEnd(width)}  ${each.description} (${origin}${each.secret ? ', also as ..._FILE' : ''})`;
  });
  return ['usage: sidecar [--check-config | --help | --version]', '', 'Configured by environment variables:', ...lines].join('\n');
}

function usageError(what: string): void {
  process.exitCode = EXIT_USAGE;
  process.stderr.write(`${what}: not understood\n${help()}\n`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

main(process.argv.slice(2)).catch((thrown: unknown) => {
  process.exitCode = thrown instanceof ConfigError ? EXIT_CONFIG : 1;
  const text = thrown instanceof ConfigError ? thrown.message : thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  process.stderr.write(`${text}\n`);
});
