/** The console as a browser without JavaScript uses it. Everything here throws with what is wrong. */
import { eventually } from '../../test/harness/eventually.ts';

interface Page {
  readonly status: number;
  readonly html: string;
  /** What of it can be read, with single spaces. */
  readonly words: string;
}

/** Somebody who is logged in. */
export interface ConsoleSession {
  open(path: string): Promise<Page>;
  /** As the form on a page would send it, with all that is hidden in that form; `fields` are what somebody fills in. */
  submit(page: Page, action: string, fields: Readonly<Record<string, string>>): Promise<Page>;
}

/** By the form, from the page that whoever is not logged in is sent to. */
export async function logInAtConsole(url: string, email: string, password: string): Promise<ConsoleSession> {
  const first = await fetch(`${url}/`, { redirect: 'manual' });
  const login = first.headers.get('location');
  if (first.status !== 303 || login === null || !login.startsWith('/login'))
    throw new Error(`a stranger is answered ${first.status} ${login}`);
  const form = await pageOf(await fetch(`${url}${login}`));
  const answer = await fetch(`${url}/login`, post(url, { ...hiddenIn(form, '/login'), email, password }));
  const [cookie] = answer.headers.getSetCookie();
  if (answer.status !== 303 || cookie === undefined || !/; HttpOnly; SameSite=Strict$/.test(cookie))
    throw new Error(`the login was answered ${answer.status}: ${(await pageOf(answer)).words.slice(0, 300)}`);
  const headers = { Cookie: cookie.slice(0, cookie.indexOf(';')) };
  return {
    open: async (path) => pageOf(await fetch(`${url}${path}`, { redirect: 'manual', headers })),
    submit: async (page, action, fields) =>
      pageOf(await fetch(`${url}${action}`, post(url, { ...hiddenIn(page, action), ...fields }, headers))),
  };
}

/** Without its own token a form is refused. */
export async function expectNoForgery(session: ConsoleSession): Promise<void> {
  const page = await session.open('/');
  const { status } = await session.submit(page, '/logout', { csrf: 'forged' });
  if (status !== 403) throw new Error(`a logout with a forged token was answered ${status}`);
  if ((await session.open('/')).status !== 200) throw new Error('it ended the session');
}

/** The words of the overview, once they say all of `expected`. */
export async function expectOverview(session: ConsoleSession, expected: readonly RegExp[]): Promise<void> {
  let words = '';
  await eventually(
    'the overview is as expected',
    async () => {
      const page = await session.open('/');
      words = page.words;
      return page.status === 200 && expected.every((each) => each.test(words));
    },
    20_000,
  ).catch(() => {
    const missing = expected.filter((each) => !each.test(words)).join(' and ');
    throw new Error(`the overview lacks ${missing}: ${words.slice(0, 2000)}`);
  });
}

/** What the console fetches from the Trivy DB on behalf of whoever is logged in, and refuses to anybody else. */
export async function expectTrivyDbPages(url: string, session: ConsoleSession): Promise<void> {
  const path = '/trivy-db/download/metadata';
  const { status, html } = await session.open(path);
  if (status !== 200 || !('NextUpdate' in JSON.parse(html))) throw new Error(`the metadata was answered ${status}: ${html.slice(0, 300)}`);
  const stranger = await fetch(`${url}${path}`, { redirect: 'manual' });
  if (stranger.status !== 303) throw new Error(`a stranger was answered ${stranger.status}`);
  const page = await session.open('/trivy-db');
  if (page.status !== 200 || !page.words.includes('Build database')) throw new Error(`the page says ${page.words.slice(0, 500)}`);
}

function post(url: string, fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}): RequestInit {
  const browser = { Origin: url, 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'navigate' };
  return { method: 'POST', redirect: 'manual', headers: { ...browser, ...headers }, body: new URLSearchParams(fields) };
}

async function pageOf(answer: Response): Promise<Page> {
  const html = await answer.text();
  const words = html
    .replace(/^[\s\S]*<main[^>]*>/, '')
    .replace(/<[^>]+>/g, ' ')
    .replace(/\s+/g, ' ');
  return { status: answer.status, html, words };
}

function hiddenIn({ html, words }: Page, action: string): Record<string, string> {
  const form = html.match(/<form\b[\s\S]*?<\/form>/g)?.find((each) => each.includes(`action="${action}"`));
  if (form === undefined) throw new Error(`there is no form for ${action}: ${words.slice(0, 300)}`);
  const hidden = [...form.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
  return Object.fromEntries(hidden.map(([, name = '', value = '']) => [name, value]));
}
