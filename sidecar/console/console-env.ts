/** What every page of the console is given, and what it gives back. */
import type { Context } from 'hono';
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Operator, OperatorEnv } from '../http/operator.ts';

/** Markup in which everything foreign is escaped; made by the `html` tag of Hono and by nothing else. */
export type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

export type Section = 'overview' | 'checks' | 'trivy-db' | 'deliveries';

export interface Page {
  /** Of the browser's tab, without the name of the product. */
  readonly title: string;
  /** The tab that is marked as the current one. */
  readonly section: Section | null;
  /** What stands in `<main>`; begins with its `<h1>`. */
  readonly body: Html;
  /** Browser scripts beside the common ones, by file name without .js. */
  readonly scripts?: readonly string[];
  /** Topics of LiveSources whose change makes this page fetch itself anew and morph. */
  readonly live?: readonly string[];
}

export type PageStatus = 200 | 400 | 404 | 409 | 422 | 500 | 502 | 503;

export type ConsoleEnv = OperatorEnv & {
  Variables: {
    operator: Operator;
    /** Proves that a form came from our own page, for this session. */
    csrf: string;
    /** Answers with the page inside the frame. */
    show(page: Page, status?: PageStatus): Promise<Response>;
  };
};

/** A hidden form field; every POST under the console is refused without it. */
export function csrfField(c: Context<ConsoleEnv>): Html {
  return html`<input type="hidden" name="csrf" value="${c.get('csrf')}">`;
}

export interface LiveSource {
  /** Lower case letters and hyphens; a page names it in `live`. */
  readonly topic: string;
  /** Differs whenever what the pages of this topic show differs. Cheap; asked once a second while somebody looks. */
  fingerprint(): Promise<string>;
}

/** To another role: in one process a direct call, else HTTP with OPERATOR_TOKEN. Rejects where nobody answers. */
export type PeerFetch = (path: string, init?: RequestInit) => Promise<Response>;

/** How much a thing on the overview wants attention: the larger, the earlier. */
export interface Attention {
  /** 100: nobody is protected; 80: work stands still; 60: something failed; 40: look when there is time. */
  readonly weight: number;
  readonly tone: 'bad' | 'warn';
  /** One sentence: what is wrong. */
  readonly what: string;
  /** One sentence: what to do next. */
  readonly next: string;
  /** A page of the console that shows more; null where there is none. */
  readonly href: string | null;
}
