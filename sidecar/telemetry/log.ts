import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** One JSON line per event on standard output, or wherever `destination` leads. */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    messageKey: 'message',
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

const MAX_STACK_CHARS = 8000;

/** The stack of an error and of what caused it. Not its other members: those of the SDK hold whole answers. */
export function stackOf(thrown: unknown): string {
  const parts: string[] = [];
  for (let each = thrown; each !== undefined && each !== null && parts.length < 5; each = each instanceof Error ? each.cause : undefined) {
    parts.push(each instanceof Error ? (each.stack ?? each.message) : String(each));
  }
  return parts.join('\ncaused by: ').slice(0, MAX_STACK_CHARS);
}
