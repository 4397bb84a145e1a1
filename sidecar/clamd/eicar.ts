/**
 * The EICAR test file: 68 harmless bytes that every engine must find. It is put together at run time, because a file that
 * held it as a whole would be taken away by the first virus scanner that sees this repository.
 */
export function eicar(): Buffer {
  return Buffer.from(['X5O!P%@AP[4\\PZX54(P^)7CC)7}$', 'EICAR-STANDARD-', 'ANTIVIRUS-TEST-FILE!$H+H*'].join(''), 'latin1');
}
