/**
 * Completions: native threads queue events in the core, and one eventfd wakes this thread.
 *
 * The descriptor is read as a stream only while something is under way, so that waiting keeps the process alive and being
 * idle lets it end. Nothing here calls back from a native thread into JavaScript, so a terminated Worker cannot crash.
 */
import { core } from "./ffi/library.ts";
import { EventKind, Event as EventLayout } from "./ffi/table.ts";

const batch = 64;
const words = EventLayout.size / 4;
const buffer = new Uint32Array(batch * words);
const statuses = new Int32Array(buffer.buffer);

type Settle = (status: number) => void;
const waiting = new Map<number, Settle>();
const outputs = new Map<string, () => void>();
let ticket = 0;
let pumping = false;
let wakeLingering: (() => void) | undefined;

/** How long the descriptor stays open for reading after the last event, in milliseconds. */
const lingerMs = 5;

/** Starts something that ends with an event; `start` gets the ticket of that event and answers a status. */
export function completion(start: (ticket: number) => void): Promise<number> {
  ticket = (ticket + 1) >>> 0;
  const mine = ticket;
  return new Promise<number>((resolve, reject) => {
    waiting.set(mine, resolve);
    try {
      start(mine);
    } catch (error) {
      waiting.delete(mine);
      reject(error);
      return;
    }
    pump();
  });
}

/** Calls `ready` whenever a machine's piped output has bytes or has ended. The answer stops it. */
export function onOutput(handle: number, stream: number, ready: () => void): () => void {
  const key = `${handle}:${stream}`;
  outputs.set(key, ready);
  return () => {
    outputs.delete(key);
  };
}

/** Hands out what is queued; for a synchronous call, which the stream cannot wake. */
export function drain(): void {
  for (;;) {
    const count = core().pristine_events_take(buffer, batch);
    for (let index = 0; index < count; index++) {
      const at = index * words;
      const kind = buffer[at + EventLayout.kind / 4];
      const handle = buffer[at + EventLayout.handle / 4] as number;
      const id = buffer[at + EventLayout.ticket / 4] as number;
      if (kind === EventKind.output_ready) {
        outputs.get(`${handle}:${id}`)?.();
        continue;
      }
      const settle = waiting.get(id);
      waiting.delete(id);
      settle?.(statuses[at + EventLayout.status / 4] as number);
    }
    if (count < batch) return;
  }
}

/** Waits a little for the next thing to wait for; false if none comes. */
function lingers(): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => finish(false), lingerMs);
    const finish = (more: boolean) => {
      clearTimeout(timer);
      wakeLingering = undefined;
      resolve(more);
    };
    wakeLingering = () => finish(true);
  });
}

async function pump(): Promise<void> {
  if (pumping) {
    wakeLingering?.();
    return;
  }
  pumping = true;
  const reader = Bun.file(core().pristine_events_fd()).stream().getReader();
  for (;;) {
    drain();
    if (waiting.size === 0) {
      if (await lingers()) continue;
      break;
    }
    await reader.read();
  }
  pumping = false;
  await reader.cancel();
}
