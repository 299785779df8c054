// A page of 200 rows on the server's side.
import { createElement as e, useState } from "react";
import { renderToReadableStream, renderToString } from "react-dom/server";

function Row({ index }) {
  const [value] = useState(index * index);
  return e(
    "tr",
    { className: index % 2 ? "odd" : "even" },
    e("td", null, index),
    e("td", null, value),
    e("td", null, `<${"x".repeat(index % 7)}>`),
  );
}
const page = e(
  "table",
  null,
  e(
    "tbody",
    null,
    Array.from({ length: 200 }, (_, index) => e(Row, { key: index, index })),
  ),
);
let text = "";
for (let i = 0; i < 20; i++) text = renderToString(page);
console.log(text.length, text.slice(0, 120));
if (renderToReadableStream) console.log((await new Response(await renderToReadableStream(page)).text()) === text);
