/** Which checks a page shows: from the address bar to PocketBase's filter. */
import PocketBase, { BaseAuthStore } from 'pocketbase';
import { z } from 'zod';

export const tabs = ['all', 'waiting', 'scanning', 'clean', 'infected', 'cannot-judge', 'failed'] as const;
export type TabName = (typeof tabs)[number];

/** A place in the order of the list: newest first, by upload and then by id. */
export interface Cursor {
  readonly created: string;
  readonly id: string;
}

export interface CheckQuery {
  readonly tab: TabName;
  /** A stored reason; empty for all. */
  readonly reason: string;
  /** What was typed into the search box, trimmed. */
  readonly search: string;
  /** Only what is older than this, or only what is newer. */
  readonly from: { readonly direction: 'older' | 'newer'; readonly cursor: Cursor } | null;
}

const MAX_SEARCH_CHARS = 200;

const cursorText = z
  .string()
  .regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z~[\w-]{1,100}$/)
  .transform((text) => ({ created: text.slice(0, text.indexOf('~')), id: text.slice(text.indexOf('~') + 1) }));
const address = z.object({
  state: z.enum(tabs).catch('all'),
  reason: z
    .string()
    .regex(/^[a-z0-9:-]{1,100}$/)
    .catch(''),
  q: z.string().catch(''),
  after: cursorText.optional().catch(undefined),
  before: cursorText.optional().catch(undefined),
});

/** What cannot be read is left out, so that an old bookmark still shows a list. */
export function readQuery(params: Readonly<Record<string, string>>): CheckQuery {
  const { state, reason, q, after, before } = address.parse(params);
  const from = after ? ({ direction: 'older', cursor: after } as const) : before ? ({ direction: 'newer', cursor: before } as const) : null;
  return { tab: state, reason, search: q.trim().slice(0, MAX_SEARCH_CHARS), from };
}

/** The address of the list with these changes; without a place in the order it begins with the newest. */
export function listHref(query: CheckQuery, changes: Partial<CheckQuery> = {}): string {
  const { tab, reason, search, from } = { ...query, from: null, ...changes };
  const params = new URLSearchParams();
  if (tab !== 'all') params.set('state', tab);
  if (reason !== '') params.set('reason', reason);
  if (search !== '') params.set('q', search);
  if (from !== null) params.set(from.direction === 'older' ? 'after' : 'before', `${from.cursor.created}~${from.cursor.id}`);
  const text = params.toString();
  return text === '' ? '/checks' : `/checks?${text}`;
}

/** What a search looks like, and so where it is looked for. */
export type SearchKind = 'none' | 'sha256' | 'id' | 'text';

export function searchKind(search: string): SearchKind {
  if (search === '') return 'none';
  if (/^[0-9a-f]{64}$/i.test(search)) return 'sha256';
  return /^[a-z0-9]{15}$/.test(search) ? 'id' : 'text';
}

// Only for its quoting; it never talks to anybody.
const sdk = new PocketBase('/', new BaseAuthStore());

export interface FilterOptions {
  /** Nothing older than this. */
  readonly floor?: string | null;
  /**
   * The tab holds so many checks that walking the list by time meets them at once. Then its state is compared by a pattern, which no
   * index answers: SQLite would otherwise take the index on the state and sort all of them (1.1 s instead of 25 ms for 100,000).
   */
  readonly isFrequent?: boolean;
  /** How the search is understood, where not by its looks. */
  readonly kind?: SearchKind;
}

/** PocketBase's filter with every foreign value quoted by the SDK. */
export function filterOf(
  query: CheckQuery,
  fileFields: readonly string[],
  { floor = null, isFrequent = false, kind = searchKind(query.search) }: FilterOptions = {},
): string {
  const is = isFrequent ? '~' : '=';
  const parts = [tabFilter(query.tab, is)];
  if (query.reason !== '') parts.push(sdk.filter(`status ${is} 'error' && reason = {:reason}`, { reason: query.reason }));
  parts.push(searchFilter(query.search, kind, fileFields));
  if (query.from !== null) parts.push(cursorFilter(query.from));
  if (floor !== null) parts.push(sdk.filter('created >= {:floor}', { floor }));
  return parts
    .filter((part) => part !== '')
    .map((part) => `(${part})`)
    .join(' && ');
}

export const sortOf = (query: Pick<CheckQuery, 'from'>) => (query.from?.direction === 'newer' ? 'created,id' : '-created,-id');

/** No state's name is a part of another's. */
function tabFilter(tab: TabName, is: '=' | '~'): string {
  switch (tab) {
    case 'all':
      return '';
    case 'waiting':
      return `status ${is} 'pending'`;
    case 'scanning':
    case 'clean':
    case 'infected':
      return `status ${is} '${tab}'`;
    case 'cannot-judge':
      return `status ${is} 'error' && (reason ~ 'unscannable:%' || reason = 'no-files' || reason = 'probe')`;
    case 'failed':
      return `status ${is} 'error' && reason !~ 'unscannable:%' && reason != 'no-files' && reason != 'probe'`;
    default:
      return tab satisfies never;
  }
}

/** Findings are looked for among the infected alone, which an index finds; file names in the builds, which know them before the verdict. */
function searchFilter(search: string, kind: SearchKind, fileFields: readonly string[]): string {
  switch (kind) {
    case 'none':
      return '';
    case 'sha256':
      return sdk.filter('files ~ {:sha256}', { sha256: `"${search.toLowerCase()}"` });
    case 'id':
      return sdk.filter('build = {:id} || id = {:id}', { id: search });
    case 'text': {
      // A bare percent sign would make PocketBase take the whole text for a pattern.
      const like = search.replaceAll('%', '\\%');
      const names = fileFields.map((field) => sdk.filter(`build.${field} ?~ {:like}`, { like }));
      const findings = sdk.filter(`(status = 'infected' && (virus_name ~ {:like} || files ~ {:like}))`, { like });
      const ids = /^[\w-]{2,100}$/.test(search) ? [sdk.filter('build ~ {:prefix}', { prefix: `${search}%` })] : [];
      return [...ids, findings, ...names].join(' || ');
    }
  }
}

/** The first condition is what the index narrows by. */
function cursorFilter({ direction, cursor }: NonNullable<CheckQuery['from']>): string {
  const [near, far] = direction === 'older' ? ['<=', '<'] : ['>=', '>'];
  return sdk.filter(`created ${near} {:created} && (created ${far} {:created} || id ${far} {:id})`, { ...cursor });
}
