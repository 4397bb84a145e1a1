/** The view rule of the second lock: the host's own rule, with the question whether the check is open put beside it. Pure. */

/** True for everything but the bytes of a protected file: there PocketBase asks the view rule in this context. */
const FILE = '@request.context = "protectedFile"';
const NOT_FILE = '@request.context != "protectedFile"';

/** Of the builds themselves. The unique index on the relation makes `=` mean the one check that there is; without one it is false. */
export const BUILD_IS_OPEN = `(${NOT_FILE} || av_build_checks_via_build.open = true)`;
/** Of a view whose ids are those of builds: a view has no back-relations. Both `?=` speak of the same row. */
export const VIEWED_BUILD_IS_OPEN = `(${NOT_FILE} || (@collection.av_build_checks.build ?= id && @collection.av_build_checks.open ?= true))`;

/** A rule of PocketBase: null is superusers only, '' is everybody. */
export type Rule = string | null;

export interface ReadRule {
  /** `edited`: our question is in it, in a form that nobody but its editor knows how to take out again. */
  lock: 'none' | 'ours' | 'edited';
  /** What the host asks for; undefined where it is `edited`. */
  own: Rule | undefined;
}

/**
 * The rule with our question, for a rule that has none. `wasPublic`: no file field was protected, so that whoever had the address had the
 * file, whatever the rule said; it stays so once the build is open, and nobody needs a file token who needed none before.
 */
export function lockedRule(own: Rule, question: string, wasPublic: boolean): Rule {
  if (own === null) return wasPublic ? `${FILE} && ${question}` : null;
  if (own === '') return question;
  return wasPublic ? `(${FILE} || (${closed(own)})) && ${question}` : `${question} && (${closed(own)})`;
}

export function readRule(rule: Rule, question: string): ReadRule {
  if (rule === null || !rule.includes(question)) return { lock: 'none', own: rule };
  if (rule === question) return { lock: 'ours', own: '' };
  if (rule === `${FILE} && ${question}`) return { lock: 'ours', own: null };
  const own = between(rule, `(${FILE} || (`, `)) && ${question}`) ?? between(rule, `${question} && (`, ')');
  return own === undefined || !isBalanced(own) || own.includes(question) ? { lock: 'edited', own: undefined } : { lock: 'ours', own };
}

/** A comment runs to the end of its line, so that it would swallow a bracket behind it. */
function closed(own: string): string {
  return own.includes('//') ? `${own}\n` : own;
}

function between(rule: string, head: string, tail: string): string | undefined {
  if (!rule.startsWith(head) || !rule.endsWith(tail) || rule.length < head.length + tail.length) return undefined;
  return rule.slice(head.length, -tail.length).replace(/\n$/, '');
}

/** Whether no bracket in it closes one that was opened before it. */
function isBalanced(own: string): boolean {
  let depth = 0;
  for (const [token] of own.matchAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\/\/[^\n]*|[()]/g)) {
    if (token === '(') depth += 1;
    else if (token === ')') depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0;
}
