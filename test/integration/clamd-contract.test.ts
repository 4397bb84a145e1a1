import { testFindings } from '../../scripts/test-signatures.ts';
import { createEnginePool } from '../../sidecar/clamd/pool.ts';
import { systemClock } from '../../sidecar/clock.ts';
import { scannerContract } from '../contract/scanner.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';

scannerContract('the engine pool over a real clamd', async () => {
  const clamd = await startClamd();
  const pool = createEnginePool(
    { addresses: [clamd.address], stallMs: 5_000, timeoutMs: 30_000, maxSignatureAgeMs: 0, allowTestSignatures: true },
    systemClock,
  );
  pool.start();
  return {
    scanner: pool,
    harmful: eicar(),
    signature: testFindings.eicar,
    async dispose() {
      await pool.stop();
      await clamd[Symbol.asyncDispose]();
    },
  };
});
