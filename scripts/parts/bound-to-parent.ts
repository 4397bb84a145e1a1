import { spawnSync } from 'node:child_process';

let supported: boolean | undefined;

/**
 * The command line that runs a program so that it gets `signal` when this process dies, however that happens; Linux alone can
 * (prctl PR_SET_PDEATHSIG by util-linux's setpriv, which then becomes the program under the same pid). Elsewhere the plain command.
 */
export function boundToParent(command: string, args: readonly string[], signal: 'TERM' | 'KILL' = 'TERM'): [string, string[]] {
  supported ??= process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'TERM', 'true']).status === 0;
  return supported ? ['setpriv', ['--pdeathsig', signal, '--', command, ...args]] : [command, [...args]];
}
