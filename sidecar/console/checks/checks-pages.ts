/** The pages below /checks: reading by the console's own login, changing as the operator. */
import type { Context, Hono } from 'hono';
import { html } from 'hono/html';
import type { Session } from '../../pocketbase/session.ts';
import { ScanError } from '../../scan/errors.ts';
import type { Logger } from '../../telemetry/log.ts';
import { type ConsoleEnv, csrfField, type Html, type LiveSource, type Page, type PeerFetch } from '../console-env.ts';
import { when } from '../format.ts';
import { confirmBody, readOrders, readSelection, reasonProblem, resultBody } from './actions.ts';
import { chartsBody, readSpan, type Span, statsAnswer } from './charts.ts';
import { CheckHistories } from './check-history.ts';
import { listHref, readQuery } from './check-query.ts';
import { type CheckRow, isJudged } from './check-row.ts';
import { ChecksSource } from './checks-source.ts';
import { carryOut, type OrderResult } from './decisions.ts';
import { detailBody, detailTitle } from './detail.ts';
import { listBody } from './list.ts';
import { whyNotChange } from './permission.ts';
import { askForRescans, readRescanForm, rescanBody, rescanDone, rescanProblem } from './rescan-many.ts';
import type { RunningScan } from './scanner-api.ts';
import { progressOf, RunningScans } from './scans.ts';
import type { Surroundings } from './state-line.ts';

export interface ChecksPagesParts {
  /** The console's own superuser login; it only reads. */
  readonly session: Pick<Session, 'send'>;
  /** Where operators' changes go. */
  readonly pocketbaseUrl: string;
  /** Where browsers reach it, for links. */
  readonly pocketbasePublicUrl: string;
  /** For GET /api/scanner; null where no scanner is known. */
  readonly scanner: PeerFetch | null;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export interface ChecksPages {
  addTo(app: Hono<ConsoleEnv>): void;
  readonly live: readonly LiveSource[];
}

type Handler = (c: Context<ConsoleEnv>) => Promise<Response>;

/** Every page answers, also while PocketBase does not: then it says so, since when, and what to do. */
export function createChecksPages(parts: ChecksPagesParts): ChecksPages {
  const source = new ChecksSource(parts.session);
  const pages = new Pages(parts, source, new RunningScans(parts.scanner));
  return {
    addTo(app) {
      app.get('/checks', pages.guarded(pages.list));
      app.get('/checks/confirm', pages.guarded(pages.confirm));
      app.get('/checks/charts', pages.guarded(pages.charts));
      app.get('/checks/rescan', pages.guarded(pages.rescan));
      app.post('/checks/rescan', pages.guarded(pages.rescanMany));
      app.get('/checks/stats.json', pages.stats);
      app.get('/checks/actions', (c) => c.redirect('/checks', 303));
      app.post('/checks/actions', pages.guarded(pages.act));
      app.get('/checks/:id', pages.guarded(pages.detail));
    },
    live: [{ topic: 'checks', fingerprint: () => pages.fingerprint() }],
  };
}

class Pages {
  readonly #parts: ChecksPagesParts;
  readonly #source: ChecksSource;
  readonly #scans: RunningScans;
  readonly #histories: CheckHistories;
  #silentSince: Date | null = null;

  constructor(parts: ChecksPagesParts, source: ChecksSource, scans: RunningScans) {
    this.#parts = parts;
    this.#source = source;
    this.#scans = scans;
    this.#histories = new CheckHistories(source);
  }

  readonly list: Handler = async (c) => {
    const query = readQuery(c.req.query());
    const [overview, running] = await Promise.all([this.#source.overview(), this.#scans.now()]);
    const page = await this.#source.page(query, overview);
    const around = await this.#surroundings(page.rows, overview, running?.scans ?? []);
    const body = listBody({ query, overview, page, around, whyNotChange: whyNotChange(c.get('operator')) });
    return await c.get('show')({ ...common, title: 'Checks', body, scripts: ['checks-selection'], live: ['checks'] });
  };

  readonly detail: Handler = async (c) => {
    const id = c.req.param('id') ?? '';
    const [check, overview, running] = await Promise.all([this.#source.one(id), this.#source.overview(), this.#scans.now()]);
    if (check === null) return await c.get('show')(gone(id), 404);
    if (check.id !== id) return c.redirect(`/checks/${encodeURIComponent(check.id)}`, 303);
    const history = await this.#histories
      .of(check, c.req.query('history') === 'whole')
      .catch((thrown: unknown) => ScanError.from(thrown).message);
    const around = await this.#surroundings([check], overview, running?.scans ?? []);
    const collection = encodeURIComponent(await this.#source.buildsCollection());
    const build = encodeURIComponent(check.build);
    const pocketbase = this.#parts.pocketbasePublicUrl.replace(/\/+$/, '');
    const body = detailBody({
      check,
      around: around(check),
      history,
      scans: running?.scans ?? [],
      whyNotChange: whyNotChange(c.get('operator')),
      recordHref: `${pocketbase}/_/#/collections?collection=${collection}&recordId=${build}`,
      fileHref: (name) => `${pocketbase}/api/files/${collection}/${build}/${encodeURIComponent(name)}?download=1`,
    });
    return await c.get('show')({ ...common, title: detailTitle(check), body, live: ['checks'] });
  };

  readonly confirm: Handler = async (c) => {
    const selection = readSelection(new URL(c.req.url).searchParams);
    if (selection === null) return await c.get('show')(unreadable, 400);
    const checks = await this.#source.some(selection.ids);
    const body = confirmBody({
      decision: selection.decision,
      checks,
      whyNotChange: whyNotChange(c.get('operator')),
      csrf: csrfField(c),
      now: Date.now(),
    });
    return await c.get('show')({ ...common, title: 'Confirm', body }, checks.length === 0 ? 422 : 200);
  };

  readonly act: Handler = async (c) => {
    const operator = c.get('operator');
    const form = readOrders(await c.req.parseBody({ all: true }));
    if (form === null) return await c.get('show')(unreadable, 400);
    const { decision, orders, reason } = form;
    const why = whyNotChange(operator);
    const problem = reasonProblem(reason);
    if (why !== null || operator.pocketbaseToken === null || problem !== null) {
      const checks = await this.#source.some(orders.map(({ check }) => check));
      const body = confirmBody({ decision, checks, whyNotChange: why, csrf: csrfField(c), now: Date.now(), reason, problem });
      return await c.get('show')({ ...common, title: 'Confirm', body }, 422);
    }
    const results = await carryOut(orders, { pocketbaseUrl: this.#parts.pocketbaseUrl, token: operator.pocketbaseToken, decision, reason });
    this.#note(decision, operator.name, results);
    const checks = await this.#source.some(orders.map(({ check }) => check)).catch(() => []);
    const builds = new Map(checks.map(({ id, build }) => [id, build]));
    const isAllWell = results.every(({ outcome }) => outcome === 'done' || outcome === 'was-so');
    return await c.get('show')({ ...common, title: 'Done', body: resultBody(decision, results, builds) }, isAllWell ? 200 : 409);
  };

  readonly rescan: Handler = async (c) => {
    const given = readRescanForm({});
    const body = rescanBody({ given, csrf: csrfField(c), whyNotChange: whyNotChange(c.get('operator')), problem: null });
    return await c.get('show')({ ...common, title: 'Scan many again', body });
  };

  readonly rescanMany: Handler = async (c) => {
    const operator = c.get('operator');
    const given = readRescanForm(await c.req.parseBody());
    const why = whyNotChange(operator);
    const refuse = async (problem: string | null) => {
      const body = rescanBody({ given, csrf: csrfField(c), whyNotChange: why, problem });
      return await c.get('show')({ ...common, title: 'Scan many again', body }, 422);
    };
    const problem = rescanProblem(given) ?? reasonProblem(given.reason);
    if (why !== null || operator.pocketbaseToken === null || problem !== null) return await refuse(problem);
    try {
      const answer = await askForRescans(this.#parts.pocketbaseUrl, operator.pocketbaseToken, given);
      this.#parts.log.info({ event: 'rescans-asked', operator: operator.name, ...answer }, 'an operator had many builds scanned again');
      return await c.get('show')({ ...common, title: 'Done', body: rescanDone(answer) });
    } catch (thrown) {
      return await refuse(thrown instanceof Error ? thrown.message : String(thrown));
    }
  };

  readonly charts: Handler = async (c) => {
    const span = readSpan(c.req.query('hours'));
    const body = chartsBody(await this.#stats(span), span);
    return await c.get('show')({ ...common, title: 'Checks over time', body, scripts: ['checks-charts'], live: ['checks'] });
  };

  readonly stats: Handler = async (c) => {
    try {
      return c.json(await this.#stats(readSpan(c.req.query('hours'))));
    } catch (thrown) {
      return c.json({ error: ScanError.from(thrown).message }, 503);
    }
  };

  /** Running scans move by themselves, so that their progress is part of it. */
  async fingerprint(): Promise<string> {
    const [stored, running] = await Promise.all([this.#source.fingerprint(), this.#scans.now()]);
    return `${stored} ${running === null ? '' : JSON.stringify(running.scans.map(({ check, sentBytes }) => [check, sentBytes]))}`;
  }

  guarded(handler: Handler): Handler {
    return async (c) => {
      try {
        const answer = await handler(c);
        this.#silentSince = null;
        return answer;
      } catch (thrown) {
        // Anything else is our own mistake, which the app's own error page and log deal with.
        if (!(thrown instanceof ScanError) || thrown.code !== 'store-unavailable') throw thrown;
        this.#silentSince ??= new Date();
        this.#parts.log.warn({ event: 'checks-unreadable', path: c.req.path, why: thrown.message }, 'the checks cannot be read');
        return await c.get('show')(
          { ...common, title: 'Checks', body: failed(thrown.message, this.#silentSince, c.req.path), live: ['checks'] },
          503,
        );
      }
    };
  }

  async #stats(span: Span) {
    return statsAnswer.parse(await this.#source.get('/api/av/stats', { hours: String(span) }));
  }

  /** What is around each of these checks; the queue is asked only when one of them stands in it. */
  async #surroundings(
    rows: readonly CheckRow[],
    { gate, counts }: Awaited<ReturnType<ChecksSource['overview']>>,
    scans: readonly RunningScan[],
  ): Promise<(check: CheckRow) => Surroundings> {
    const waiting = rows.find(({ status }) => status === 'pending');
    const unknown = { position: null, usualMs: null };
    const prospects = waiting === undefined ? unknown : await this.#source.prospects(waiting.build).catch(() => unknown);
    const positions = waiting === undefined || rows.length === 1 ? new Map<string, number>() : await this.#source.positions(counts.waiting);
    const now = Date.now();
    return (check) => ({
      gate,
      position: check === waiting ? prospects.position : (positions.get(check.id) ?? null),
      progress: isJudged(check) && !check.isLeased ? null : progressOf(check, scans),
      usualMs: prospects.usualMs,
      now,
    });
  }

  #note(decision: string, operator: string, results: readonly OrderResult[]): void {
    const done = results.filter(({ outcome }) => outcome === 'done').map(({ check }) => check);
    const refused = results.filter(({ outcome }) => outcome === 'refused' || outcome === 'not-tried').map(({ check }) => check);
    this.#parts.log.info({ event: 'checks-decided', decision, operator, done, refused }, 'an operator decided about checks');
  }
}

const common = { section: 'checks' } as const satisfies Partial<Page>;

function gone(id: string): Page {
  const shown = /^[\w-]{1,100}$/.test(id) ? html`<span class="mono">${id}</span>` : 'this address';
  return {
    ...common,
    title: 'No such check',
    body: html`<div class="page-head"><h1>There is no check ${shown}</h1></div><p>Its build was deleted, or the address is not whole. The history keeps what was said of it.</p><p><a class="button" href="/checks">Show all checks</a></p>`,
  };
}

const unreadable: Page = {
  ...common,
  title: 'Nothing was changed',
  body: html`<div class="page-head"><h1>Nothing was changed</h1></div><p class="notice warn">This form is not whole. Select up to 100 checks in the list, and choose what to do.</p><p><a class="button" href="/checks">Back to the checks</a></p>`,
};

function failed(message: string, since: Date, path: string): Html {
  const sentence = `${message.slice(0, 1).toUpperCase()}${message.slice(1)}`;
  return html`<div class="page-head"><h1>Checks</h1></div>
<div class="notice bad" role="alert"><div><p><strong>The checks cannot be read.</strong> ${sentence.replace(/\.?$/, '.')}</p><p>Since ${when(since)}. Uploads stay behind the gate meanwhile. Look whether PocketBase runs and what its log says; this page tries again by itself.</p></div></div>
<p><a class="button" href="${path.startsWith('/checks') ? path : listHref(readQuery({}))}">Try again</a></p>`;
}
