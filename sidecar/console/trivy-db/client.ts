/** What the console asks of the trivy-db role, wherever that runs. */
import type { z } from 'zod';
import { onBehalfOf } from '../../http/peers.ts';
import {
  type BuilderAnswer,
  type BuildLogAnswer,
  type BuildsAnswer,
  builderAnswer,
  buildLogAnswer,
  buildRecord,
  buildsAnswer,
  errorAnswer,
  refusedAnswer,
  type StatusAnswer,
  startedAnswer,
  statusAnswer,
} from '../../trivy-db/api.ts';
import type { BuildRecord } from '../../trivy-db/model.ts';
import type { PeerFetch } from '../console-env.ts';

const ANSWER_MS = 10_000;

/** The role did not answer, or not in its own words; `message` is a sentence for operators. */
export class PeerFault extends Error {
  override readonly name = 'PeerFault';
  /** Since when it is so, as far as the console knows. */
  readonly since: Date;

  constructor(message: string, since: Date, cause?: unknown) {
    super(message, { cause });
    this.since = since;
  }
}

/** It answered, and said no; `message` is its sentence with the next step. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

export class TrivyDbClient {
  readonly #peer: PeerFetch;
  #failingSince: Date | null = null;

  constructor(peer: PeerFetch) {
    this.#peer = peer;
  }

  status(): Promise<StatusAnswer> {
    return this.#read('/api/status', statusAnswer);
  }

  builder(): Promise<BuilderAnswer> {
    return this.#read('/api/builder', builderAnswer);
  }

  /** Newest first; at most `limit`, up to 100. */
  builds(limit: number, before: string | null = null): Promise<BuildsAnswer> {
    return this.#read(`/api/builds?limit=${limit}${before === null ? '' : `&before=${encodeURIComponent(before)}`}`, buildsAnswer);
  }

  /** Null where there is no such build. */
  build(id: string): Promise<BuildRecord | null> {
    return this.#readOr404(`/api/builds/${encodeURIComponent(id)}`, buildRecord);
  }

  /** Lines `from`…`to` of a build's log, at most 1,000; null where the log is no longer kept. Beyond its end there are none. */
  lines(id: string, from: number, to: number): Promise<BuildLogAnswer | null> {
    return this.#readOr404(`/api/builds/${encodeURIComponent(id)}/logs?from=${from}&to=${to}`, buildLogAnswer);
  }

  /** Whether the registry wants a user and a password. */
  async needsLogin(): Promise<boolean> {
    const answer = await this.#ask('/v2/', { headers: { Accept: 'application/json' } });
    await answer.body?.cancel();
    return answer.status === 401;
  }

  /** Resolves with the id of the build that has begun. Rejects with Refused or PeerFault, as all that follow. */
  async start(by: string): Promise<string> {
    const parsed = startedAnswer.safeParse(await this.#post('/api/build', by));
    if (!parsed.success) throw this.#fault('The Trivy DB role gave an answer that this console does not know.', parsed.error);
    return parsed.data.id;
  }

  async cancel(by: string): Promise<void> {
    await this.#post('/api/build/cancel', by);
  }

  async clearLock(by: string): Promise<void> {
    await this.#post('/api/clear-lock', by);
  }

  async publish(id: string, by: string): Promise<void> {
    await this.#post(`/api/builds/${encodeURIComponent(id)}/publish`, by);
  }

  /** The answer as it comes, body and all, for downloads and streams; it ends with the signal. */
  raw(path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    return this.#ask(path, { headers, signal });
  }

  async #read<T>(path: string, shape: z.ZodType<T>): Promise<T> {
    const read = await this.#readOr404(path, shape);
    if (read === null) throw this.#fault('The Trivy DB role does not know what this console asks for: run the same version of both.', path);
    return read;
  }

  async #readOr404<T>(path: string, shape: z.ZodType<T>): Promise<T | null> {
    const answer = await this.#ask(path, { headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(ANSWER_MS) });
    const body = await this.#json(answer);
    if (answer.status === 404) return null;
    if (!answer.ok) throw this.#fault(sentenceOf(answer.status, body), body);
    const parsed = shape.safeParse(body);
    if (!parsed.success)
      throw this.#fault('The Trivy DB role gave an answer that this console does not know: run the same version of both.', parsed.error);
    this.#failingSince = null;
    return parsed.data;
  }

  async #post(path: string, by: string): Promise<unknown> {
    // Stopping a build waits until its programs have ended.
    const signal = AbortSignal.timeout(3 * ANSWER_MS);
    const headers = { Accept: 'application/json', ...onBehalfOf(by) };
    const answer = await this.#ask(path, { method: 'POST', headers, signal });
    const body = await this.#json(answer);
    if (answer.ok) return body;
    const refused = refusedAnswer.safeParse(body);
    if (refused.success) throw new Refused(refused.data.message);
    if (answer.status < 500) throw new Refused(sentenceOf(answer.status, body));
    throw this.#fault(sentenceOf(answer.status, body), body);
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    try {
      return await this.#peer(path, init);
    } catch (thrown) {
      throw this.#fault('The Trivy DB role does not answer.', thrown);
    }
  }

  async #json(answer: Response): Promise<unknown> {
    try {
      return await answer.json();
    } catch (thrown) {
      throw this.#fault(`The Trivy DB role answered ${answer.status}, and not in its own words.`, thrown);
    }
  }

  #fault(message: string, cause: unknown): PeerFault {
    this.#failingSince ??= new Date();
    return new PeerFault(message, this.#failingSince, cause);
  }
}

function sentenceOf(status: number, body: unknown): string {
  if (status === 401 || status === 403) return 'The Trivy DB role does not accept this console: give both the same OPERATOR_TOKEN.';
  const parsed = errorAnswer.safeParse(body);
  return parsed.success ? parsed.data.error : `The Trivy DB role answered ${status}.`;
}
