/** The server of serve.mjs as a handler. */
import { render } from "./page.mjs";

const headers = { "content-type": "text/html" };

export default (request) => new Response(render(request.url.endsWith("/hello")), { headers });
