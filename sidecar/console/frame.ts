/**
 * The frame around every page. The classes that pages may use are listed at the top of console.css; a part may bring its own
 * rules in a `.css` file of its folder, which the build appends to that one (20 KB all together).
 */
import { html } from 'hono/html';
import type { Operator } from '../http/operator.ts';
import type { Attention, Html, Page, Section } from './console-env.ts';
import { count } from './format.ts';
import { shape } from './shapes.ts';

export interface Tab {
  readonly section: Section;
  readonly label: string;
  readonly href: string;
  /** How many things behind it need a look; nothing is shown for 0. */
  readonly toLookAt: number;
  /** Something runs there now. */
  readonly isBusy?: boolean;
}

export interface Frame {
  /** Null before the login. */
  readonly operator: Operator | null;
  readonly csrf: string | null;
  /** Where a login leads back to; the overview where it is missing. */
  readonly here?: string;
  readonly tabs: readonly Tab[];
  /** The worst of all; null when nothing deserves one. */
  readonly banner: Attention | null;
  /** The address of an asset by its file name. */
  asset(name: string): string;
}

/** The whole document. */
export function framed(page: Page, frame: Frame): Html {
  const { operator, banner } = frame;
  const scripts = ['theme', ...(operator === null ? [] : ['live']), ...(page.scripts ?? [])];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${page.title} · Pocketwarden</title>
<link rel="icon" href="${frame.asset('icon.svg')}" type="image/svg+xml">
<link rel="stylesheet" href="${frame.asset('console.css')}">
<script src="${frame.asset('theme.js')}"></script>
${scripts.filter((name) => name !== 'theme').map((name) => html`<script type="module" src="${frame.asset(`${name}.js`)}"></script>\n`)}</head>
<body data-live="${(page.live ?? []).join(' ')}" data-now="${new Date().toISOString()}">
<a class="skip" href="#main">Skip to the content</a>
<header class="top"><div class="bar">
<a class="brand" href="/">${shape('brand')}Pocketwarden</a>
<span class="who">
<button type="button" class="plain" id="theme" hidden>Theme</button>
${operator === null ? '' : whoIsIt(operator, frame)}
</span>
</div>
${frame.tabs.length === 0 ? '' : html`<nav class="tabs" id="tabs" aria-label="Sections">${frame.tabs.map((tab) => tabLink(tab, page.section))}</nav>`}
</header>
<div id="stale" role="status"></div>
<div id="banner">${banner === null ? '' : bannerOf(banner)}</div>
<main id="main" tabindex="-1">
${page.body}
</main>
</body>
</html>`;
}

function whoIsIt(operator: Operator, { csrf, here = '/' }: Frame): Html {
  const how = { superuser: 'PocketBase superuser', token: 'operator token', proxy: 'known by the proxy' }[operator.via];
  const logout = html`<form method="post" action="/logout"><input type="hidden" name="csrf" value="${csrf}"><button type="submit" class="plain">Log out</button></form>`;
  // The others may read checks; whoever wants to change them needs to be somebody whom PocketBase knows.
  const login = html`<a href="/login?${new URLSearchParams({ to: here }).toString()}">Log in as superuser</a>`;
  return html`<span class="name" title="${how}">${operator.name}</span>${operator.via === 'superuser' ? '' : login}${operator.via === 'proxy' ? '' : logout}`;
}

function tabLink(tab: Tab, current: Section | null): Html {
  const number =
    tab.toLookAt === 0
      ? ''
      : html` <span class="badge"><span class="hidden">, </span>${count(tab.toLookAt)}<span class="hidden"> to look at</span></span>`;
  const busy = tab.isBusy ? html` ${shape('busy')}<span class="hidden">running</span>` : '';
  return html`<a href="${tab.href}"${tab.section === current ? html` aria-current="page"` : ''}>${tab.label}${number}${busy}</a>`;
}

function bannerOf({ tone, what, next, href }: Attention): Html {
  return html`<div class="banner ${tone}" role="${tone === 'bad' ? 'alert' : 'status'}">${shape(tone)}<p><strong>${what}</strong> ${next}</p>${href === null ? '' : html`<a href="${href}">Show</a>`}</div>`;
}
