const units = ['B', 'KB', 'MB', 'GB'] as const;

/** Bytes as the requirements' status shows them: `1.15 GB`, in steps of 1024; `N/A` where there are none to tell. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return 'N/A';
  let left = bytes;
  for (const unit of units) {
    // 1023.996 would be shown as 1024.00 of this unit.
    if (left < 1023.995) return `${left.toFixed(2)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(2)} TB`;
}
