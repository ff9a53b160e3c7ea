/**
 * When a request is sent again: after no answer and after 429, 502, 503 and 504, with full jitter, until a deadline.
 * Every call may be sent twice: reads change nothing, and an event counts once by its id.
 */

export interface Retries {
  readonly timeoutMs: number;
  readonly deadlineMs: number;
  readonly tries: number;
}

export const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** The longest wait before the second try; it doubles for each further one, and a random part of it is waited. */
const WAIT_MS = 100;

/** The last answer, whatever its status, or the error that came in its place. */
export async function send(url: string, request: RequestInit, retries: Retries): Promise<Response | Error> {
  const ends = performance.now() + retries.deadlineMs;
  for (let number = 1; ; number++) {
    const came = await tryOnce(url, request, Math.max(1, Math.min(retries.timeoutMs, ends - performance.now())));
    if (came instanceof Response && !AGAIN.has(came.status)) return came;
    const pause = retryAfterMs(came) + Math.random() * WAIT_MS * 2 ** (number - 1);
    if (number >= retries.tries || performance.now() + pause >= ends) return came;
    if (came instanceof Response) await came.body?.cancel(); // its connection is free for the next try
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function tryOnce(url: string, request: RequestInit, timeoutMs: number): Promise<Response | Error> {
  try {
    const response = await fetch(url, { ...request, signal: AbortSignal.timeout(timeoutMs) });
    // The time limit holds for the body, too.
    return new Response(await response.arrayBuffer(), response);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Retry-After has seconds, or a date. */
function retryAfterMs(came: Response | Error): number {
  const text = came instanceof Response ? came.headers.get("retry-after") : null;
  if (text === null) return 0;
  if (/^\d+$/.test(text)) return 1000 * Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? 0 : Math.max(0, at - Date.now());
}
