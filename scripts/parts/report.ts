/** Takes one line of progress, for humans. */
export type Report = (line: string) => void;

/** Runs `work` and says every 20 s that it is still running, so that a long step does not look like a hang. */
export async function withPatience<T>(report: Report, what: string, work: () => Promise<T>): Promise<T> {
  const began = Date.now();
  const timer = setInterval(() => report(`${what}: still at it after ${Math.round((Date.now() - began) / 1000)} s`), 20_000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
