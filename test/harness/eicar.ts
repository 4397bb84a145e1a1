export { eicar } from '../../sidecar/clamd/eicar.ts';
