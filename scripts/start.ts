/** `npm start`: PocketBase, clamd and the sidecar as one supervised group. */
import { paint, prefixedLog } from './start/log.ts';
import { HELP, readSettings, type StartSettings } from './start/settings.ts';
import { Group, prepareGroup } from './start/start-group.ts';
import { summary } from './start/summary.ts';

/** npm passes the terminal's Ctrl-C on to us, who got it already: signals this close together are one. */
const SAME_SIGNAL_MS = 1_000;

const write = (text: string) => void process.stdout.write(text);
const report = prefixedLog('start', 'yellow', write);

async function runGroup(settings: StartSettings): Promise<void> {
  const began = performance.now();
  const stop = stopRequested();
  const plan = await Promise.race([prepareGroup(settings, report, write), stop.first]);
  if (plan === 'stop') return report('stopped; what was being obtained is resumed at the next start');
  const group = new Group(plan, report);
  void stop.second.then(() => {
    report('killing everything');
    group.kill();
  });
  try {
    const started = await Promise.race([group.start().then(() => 'ready' as const), stop.first]);
    if (started === 'ready') {
      write(summary(plan, (performance.now() - began) / 1000));
      await stop.first;
    }
    report('stopping (once more to kill)');
  } finally {
    await group.stop();
  }
  report('stopped');
}

/** Resolves on the first request to stop, and on the second one; being left by our parent is a request too. */
function stopRequested(): { first: Promise<'stop'>; second: Promise<void> } {
  const first = Promise.withResolvers<'stop'>();
  const second = Promise.withResolvers<void>();
  let firstAt: number | null = null;
  const request = () => {
    if (firstAt === null) {
      firstAt = Date.now();
      first.resolve('stop');
    } else if (Date.now() - firstAt > SAME_SIGNAL_MS) second.resolve();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, request);
  if (process.connected) process.on('disconnect', request);
  return { first: first.promise, second: second.promise };
}

// A terminal that has gone away must not keep us from stopping the group.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) console.log(HELP);
else {
  try {
    await runGroup(readSettings(process.env));
  } catch (error) {
    for (const line of (error instanceof Error ? error.message : String(error)).split('\n')) report(paint('red', line));
    process.exitCode = 1;
  }
  // What is still being obtained would keep the process alive; it dies with it and heals at the next start.
  process.exit();
}
