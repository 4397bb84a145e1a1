import { fileURLToPath } from 'node:url';
import { type RunResult, run, runOrThrow } from '../parts/run.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** docker-compose on one engine, with the files of one stack. */
export class Compose {
  readonly env: NodeJS.ProcessEnv;
  readonly #bin: string;
  readonly #files: readonly string[];

  constructor(bin: string, env: NodeJS.ProcessEnv, files: readonly string[] = []) {
    this.#bin = bin;
    this.env = env;
    this.#files = files;
  }

  /** The same engine, with `files` one over the other; their relative paths are the repository's. */
  stack(files: readonly string[], env: NodeJS.ProcessEnv): Compose {
    return new Compose(this.#bin, { ...this.env, ...env }, files);
  }

  /** Throws with the last lines of what it said. */
  run(...args: string[]): Promise<string> {
    return runOrThrow(this.#bin, this.#arguments(args), { env: this.env, cwd: root });
  }

  /** Never throws. */
  try(...args: string[]): Promise<RunResult> {
    return run(this.#bin, this.#arguments(args), { env: this.env, cwd: root });
  }

  /** One command on another file alone. */
  at(file: string, args: readonly string[]): Promise<string> {
    return runOrThrow(this.#bin, ['--ansi=never', '--progress=plain', '-f', file, ...args], { env: this.env });
  }

  /** A program in the container of a service, for at most 20 s. */
  async exec(service: string, ...command: string[]): Promise<RunResult> {
    return run(this.#bin, this.#arguments(['exec', '-T', service, ...command]), { env: this.env, cwd: root, timeoutMs: 20_000 });
  }

  async containerOf(service: string): Promise<string> {
    const id = (await this.run('ps', '--all', '--quiet', service)).trim();
    if (id === '' || id.includes('\n')) throw new Error(`${service} has not exactly one container: ${JSON.stringify(id)}`);
    return id;
  }

  #arguments(args: readonly string[]): string[] {
    const files = this.#files.flatMap((file) => ['-f', file]);
    return ['--ansi=never', '--progress=plain', '--project-directory', root, ...files, ...args];
  }
}
