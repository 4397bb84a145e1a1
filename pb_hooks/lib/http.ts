/** Requests and answers, where PocketBase's types and its behaviour differ. */

/**
 * The request behind a `*Request` hook event. Its own `request` and `response` are declared but undefined at run time
 * (observed on PocketBase 0.36 and 0.40), so they are never used directly.
 */
export function requestOf(e: core.FileDownloadRequestEvent): core.RequestEvent {
  const inner = (e as unknown as { requestEvent?: core.RequestEvent }).requestEvent;
  if (!inner) throw new Error('this PocketBase has no requestEvent on its hook events');
  return inner;
}

/** The JSON object of a request. Throws 400 for anything else. */
export function bodyOf(e: core.RequestEvent): { [name: string]: unknown } {
  let body: unknown;
  try {
    body = JSON.parse(toString(e.request!.body));
  } catch {
    throw new BadRequestError('The body is not JSON.');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new BadRequestError('The body is not a JSON object.');
  return body as { [name: string]: unknown };
}

/** An integer within its bounds. Throws 400 naming the member. */
export function integer(body: { [name: string]: unknown }, name: string, min: number, max: number): number {
  const value = body[name];
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new BadRequestError(`${name} must be a whole number from ${min} to ${max}.`);
  }
  return value;
}

/** An integer from the query of the address, within its bounds. Throws 400 naming it. */
export function queryInteger(e: core.RequestEvent, name: string, min: number, max: number, absent: number): number {
  const raw = e.request!.url!.query().get(name);
  if (raw === '') return absent;
  const value = /^\d{1,16}$/.test(raw) ? Number(raw) : Number.NaN;
  if (!(value >= min && value <= max)) throw new BadRequestError(`${name} must be a whole number from ${min} to ${max}.`);
  return value;
}

/** A list of at most `max` objects. Throws 400 naming the member. */
export function objects(body: { [name: string]: unknown }, name: string, max: number): { [name: string]: unknown }[] {
  const value = body[name];
  if (!Array.isArray(value) || value.length > max) throw new BadRequestError(`${name} must be a list of at most ${max} objects.`);
  for (const item of value) {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) throw new BadRequestError(`${name} must hold objects only.`);
  }
  return value;
}

/** A PocketBase-shaped error whose `data` carries one machine code under `name`. */
export function refusal(status: number, message: string, name: string, code: string): ApiError {
  // A plain object in the data of an ApiError would become validation_invalid_value.
  return new ApiError(status, message, { [name]: new ValidationError(code, message) });
}
