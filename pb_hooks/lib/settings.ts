/** What the hooks take from the environment. Secrets may also stand in a file named by `…_FILE`. */

export type GateMode = 'enforce' | 'monitor' | 'off';

/** Anything but the two other words, misspelt ones included, enforces. */
export function gateMode(): GateMode {
  const mode = $os.getenv('AV_GATE').trim().toLowerCase();
  return mode === 'monitor' || mode === 'off' ? mode : 'enforce';
}

/** A sentence where AV_GATE holds a word that is not one of its three. */
export function gateModeProblem(): string | null {
  const mode = $os.getenv('AV_GATE').trim().toLowerCase();
  if (['', 'enforce', 'monitor', 'off'].includes(mode)) return null;
  return 'AV_GATE is neither enforce, monitor nor off; the gate enforces.';
}

/** Formats that may leave although no engine can look into them; as it stands in the environment, for `readPolicy`. */
export function allowUnscannable(): string {
  return $os.getenv('ALLOW_UNSCANNABLE');
}

export function sidecarUrl(): string {
  return $os.getenv('AV_SIDECAR_URL').trim().replace(/\/+$/, '');
}

export function flag(name: string): boolean {
  return ['true', '1', 'yes', 'on'].includes($os.getenv(name).trim().toLowerCase());
}

/** The variable, or the content of the file named by `<name>_FILE` without its last line break; '' where there is neither. Throws where the file cannot be read. */
export function secret(name: string): string {
  const value = $os.getenv(name);
  if (value !== '') return value;
  const file = $os.getenv(`${name}_FILE`);
  if (file === '') return '';
  try {
    return toString($os.readFile(file)).replace(/\r?\n$/, '');
  } catch (error) {
    throw new Error(`${name}_FILE names a file that cannot be read: ${String(error)}`);
  }
}
