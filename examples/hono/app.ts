// An ordinary Hono app, which knows nothing of Pristine. Its state is as careless as it can be.
import { Hono } from "hono";

const visitors: string[] = [];
const app = new Hono();

app.get("/", (c) => c.text("hello"));
app.get("/visit/:name", (c) => {
  visitors.push(c.req.param("name"));
  return c.json({ visitors });
});
app.post("/echo", async (c) => c.json(await c.req.json()));
app.get("/crash", () => process.exit(1));

export default { hostname: "127.0.0.1", port: 3000, fetch: app.fetch };
