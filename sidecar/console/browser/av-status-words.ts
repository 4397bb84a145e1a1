/** What `<av-status>` says: plain English for somebody who uploaded a build. */
import type { BuildAnswer } from '../../../pb_hooks/lib/wire.ts';

export type State =
  | 'loading'
  | 'pending'
  | 'scanning'
  | 'clean'
  | 'infected'
  | 'released'
  | 'unscannable'
  | 'failed'
  | 'unknown'
  | 'offline';

export const LABELS: Record<State, string> = {
  loading: 'Asking…',
  pending: 'Waiting',
  scanning: 'Scanning',
  clean: 'Clean',
  infected: 'Infected',
  released: 'Released',
  unscannable: 'Cannot judge',
  failed: 'Failed',
  unknown: 'Not found',
  offline: 'No answer',
};
/** Never colour alone. */
export const MARKS: Record<State, string> = {
  loading: '…',
  pending: '◌',
  scanning: '◐',
  clean: '✓',
  infected: '✕',
  released: '!',
  unscannable: '?',
  failed: '!',
  unknown: '?',
  offline: '…',
};
const ORDINALS = ['Next', 'Second', 'Third', 'Fourth', 'Fifth', 'Sixth', 'Seventh', 'Eighth', 'Ninth', 'Tenth'];

/** What PocketBase stores, as it is shown; whatever nobody knows is `unknown`. */
export function stateOf({ status, open, reason }: BuildAnswer): State {
  switch (status) {
    case 'infected':
      return open ? 'released' : status;
    case 'error':
      if (open) return 'released';
      return reason === 'no-files' || reason.startsWith('unscannable:') ? 'unscannable' : 'failed';
    default:
      return status === 'pending' || status === 'scanning' || status === 'clean' ? status : 'unknown';
  }
}

/** Two figures, as on every page of ours. */
function duration(seconds: number): string {
  if (seconds < 90) return `${seconds < 10 ? Math.max(0.1, Math.round(seconds * 10) / 10) : Math.round(seconds)} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} h`;
}

function place(position: BuildAnswer['position']): string {
  if (position === null) return 'In line';
  if (position === '>1000') return 'More than 1,000 are before it';
  return `${ORDINALS[position - 1] ?? `Number ${position}`} in line`;
}

/** The line below the label; '' where there is nothing to say. */
export function englishLine(state: State, answer: BuildAnswer | null): string {
  const usual = answer?.usualSeconds ?? null;
  switch (state) {
    case 'pending':
      return `${place(answer?.position ?? null)}${usual === null ? '' : `, usually ${duration(usual)}`}.`;
    case 'scanning':
      return usual === null ? '' : `Usually takes ${duration(usual)}.`;
    case 'clean':
      return 'No malware was found. It can be downloaded.';
    case 'infected':
      return 'Malware was found. Nobody can download it.';
    case 'released':
      return 'It could not be proved clean, and was let through by a decision on record.';
    case 'unscannable':
      return answer?.text ?? 'The scanner could not look inside. Nobody can download it.';
    case 'failed':
      return 'The scan did not succeed. Nobody can download it until an operator has looked at it.';
    case 'unknown':
      return 'There is no such build, or you may not see it.';
    case 'offline':
      return 'The server does not answer. Trying again.';
    case 'loading':
      return '';
    default:
      return state satisfies never;
  }
}
