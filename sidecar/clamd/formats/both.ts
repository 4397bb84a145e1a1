import type { UnscannableReason } from '../../scan/model.ts';

/** Two reasons as one: an operator who lets one of them through by policy has said nothing about the other. */
export function both(one: UnscannableReason | null, other: UnscannableReason | null): UnscannableReason | null {
  if (one === null || other === null || one === other) return one ?? other;
  return 'unscannable:several-reasons';
}
