/** PocketBase registers a handler as text and runs it in another runtime: a name from outside it is a ReferenceError at run time. */
import vm from 'node:vm';

const oneCall = /^\((\w*)\) ?=> ?\{\s*require\(`\$\{__hooks\}\/av\/lib\.js`\)\.(\w+)\((\$app|\w+)\);?\s*\}$/;

/** Runs the compiled registrations in a stand-in loader; answers a sentence for each handler that is more than one call of an exported function. */
export function checkHandlers(entry: string, library: string): string[] {
  const module = { exports: {} as Record<string, unknown> };
  vm.runInNewContext(library, { module, exports: module.exports });
  const problems: string[] = [];
  let seen = 0;
  const register =
    (registration: string) =>
    (...args: unknown[]) => {
      for (const arg of args) {
        if (typeof arg !== 'function') continue;
        seen += 1;
        const problem = problemOf(String(arg), module.exports);
        if (problem) problems.push(`${registration}(${args.filter((a) => typeof a === 'string').join(', ')}): ${problem}`);
      }
    };
  vm.runInNewContext(entry, standInLoader(register));
  if (seen === 0) problems.push('no handler was registered at all');
  return problems;
}

function problemOf(text: string, library: Record<string, unknown>): string | null {
  const match = oneCall.exec(text);
  if (!match) return `a handler may only be one call into the library, this one is ${text.replaceAll(/\s+/g, ' ').slice(0, 200)}`;
  const [, parameter, called, argument] = match;
  if (argument !== '$app' && argument !== parameter) return `it passes ${argument}, which does not exist inside the handler`;
  return typeof library[called!] === 'function' ? null : `the library exports no function ${called}`;
}

/** The loader's globals as far as our registrations use them. */
function standInLoader(register: (name: string) => unknown): vm.Context {
  const membersAre = (value: unknown) => new Proxy({}, { get: () => value });
  const served = { app: { findCollectionByNameOrId: () => ({ id: 'an id' }) }, next: () => {} };
  const globals: Record<string, unknown> = {
    $app: { rootCmd: { addCommand: () => {} }, onServe: () => ({ bindFunc: (handler: (e: unknown) => void) => handler(served) }) },
    $apis: membersAre(() => ({})),
    require: () => membersAre(() => 'an id'),
    __hooks: '',
  };
  return new Proxy(globals, {
    has: () => true,
    get: (target, key) => {
      if (typeof key === 'symbol' || key in target) return target[key as string];
      return /^(on[A-Z]|routerAdd$|routerUse$|cronAdd$)/.test(key) ? register(key) : Reflect.get(globalThis, key);
    },
  });
}
