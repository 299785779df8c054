// A page that React renders on the server, in a process that serves one visitor at a time and then is as new.
import { renderToString } from "react-dom/server";

let rendered = 0;

function Page({ name, fruits }: { name: string; fruits: string[] }) {
  return (
    <html lang="en">
      <body>
        <h1>Hello, {name}</h1>
        <ul>
          {fruits.map((fruit) => (
            <li key={fruit}>{fruit}</li>
          ))}
        </ul>
        <p>Rendered {rendered} time(s) in this process.</p>
      </body>
    </html>
  );
}

Bun.serve({
  hostname: "127.0.0.1",
  port: 3000,
  fetch(request) {
    rendered++;
    const name = new URL(request.url).searchParams.get("name") ?? "world";
    const html = `<!doctype html>${renderToString(<Page name={name} fruits={["apple", "pear", "plum"]} />)}`;
    return new Response(html, { headers: { "content-type": "text/html; charset=utf-8" } });
  },
});
