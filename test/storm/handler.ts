/** A handler that answers, fails and hangs as it is asked to. The number of a request must come back in its answer. */
let calls = 0;

const routes: Record<string, () => unknown> = {
  "/exit": () => process.exit(3),
  "/abort": () => process.abort(),
  "/throw": () => {
    throw new RangeError("thrown");
  },
  "/hang": () => new Promise(() => {}),
  "/spin": () => {
    for (;;);
  },
  "/nap": () => new Promise((resolve) => setTimeout(resolve, 20)),
};

export default async (request: Request) => {
  calls++;
  const { pathname, search } = new URL(request.url);
  await routes[pathname]?.();
  return new Response(`${search.slice(1)} ${await request.text()}`, { headers: { "x-calls": String(calls) } });
};
